"""A whole installation, started once by `muster dev` as a person starts it, and a way to run commands against it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import app
from tests.cli.running import ROOT, Result, Run

_START_LINES = 200


@pytest.fixture
def muster(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command in this process: `muster("audience", "list")`. The environment is bare but for a data folder of the test's own."""
    for name in [name for name in os.environ if name.startswith("MUSTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MUSTER_DATA_DIR", str(tmp_path / "data"))
    # Rich folds lines to the terminal's width.
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, stdin: str | None = None) -> Result:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["muster", *map(str, arguments)])
        if stdin is not None:
            path = tmp_path / "stdin"
            path.write_text(stdin)
            monkeypatch.setattr(sys, "stdin", path.open())
        try:
            app.main()
            code: object = 0
        except SystemExit as ended:
            code = ended.code
        said = capfd.readouterr()
        return Result(int(code) if isinstance(code, int) else 0 if code is None else 1, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def installation() -> Iterator[Path]:
    """The data folder of a running installation with every service."""
    folder = Path(tempfile.mkdtemp(prefix="muster-dev-"))
    command = [sys.executable, "-m", "cli", "dev", "--ports", "auto", "--data-dir", str(folder), "--json"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line, _ in zip(process.stdout, range(_START_LINES), strict=False):
        if json.loads(line)["event"] == "ready":
            break
    else:
        pytest.fail(f"`muster dev` did not get ready: exit code {process.wait()}")
    yield folder
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(timeout=60) == 0
    shutil.rmtree(folder)


@pytest.fixture
def live(muster: Run, installation: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the running installation, in a fresh account."""
    monkeypatch.setenv("MUSTER_DATA_DIR", str(installation))
    made = muster("account", "create", "Test", "--json")
    assert made.exit_code == 0, made.err
    monkeypatch.setenv("MUSTER_ACCOUNT", made.document["account_id"])
    return muster
