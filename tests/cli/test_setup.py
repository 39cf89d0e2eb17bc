"""tools/setup and the launcher, in a checkout without packages, so that nothing is fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import ROOT


def _checkout(folder: Path) -> Path:
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "setup", folder / "tools")
    shutil.copy(ROOT / "muster", folder)
    for name in ("requirements.lock", "requirements-dev.lock", "tools/requirements-uv.lock"):
        (folder / name).write_text("# nothing\n")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose lock files name no package."""
    return _checkout(tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a checkout, set up for the services once."""
    folder = _checkout(tmp_path_factory.mktemp("checkout"))
    first = setup(folder)
    assert first.returncode == 0, first.stderr
    assert "ready" in first.stderr
    return folder


def setup(checkout: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path or os.environ["PATH"], "HOME": str(checkout)}
    return subprocess.run(
        [checkout / "tools" / "setup", *arguments], env=environment, check=False, capture_output=True, text=True, timeout=100
    )


def test_the_second_run_does_nothing(installed: Path) -> None:
    stamp = installed / ".venv" / ".muster-setup"
    written = stamp.stat().st_mtime_ns
    second = setup(installed)
    assert (second.returncode, second.stderr) == (0, "")
    assert stamp.stat().st_mtime_ns == written


def test_a_changed_lock_is_installed_and_development_stays_development(installed: Path) -> None:
    assert "installing requirements-dev.lock" in setup(installed, "dev").stderr
    # What the services need is there already.
    assert setup(installed, "runtime").stderr == ""
    (installed / "requirements-dev.lock").write_text("# nothing, again\n")
    assert "installing requirements-dev.lock" in setup(installed, "runtime").stderr


def test_what_it_cannot_do_it_says_in_one_line(checkout: Path, tmp_path: Path) -> None:
    assert setup(checkout, "everything").returncode == 2
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "cat", "mkdir", "sha256sum", "cut"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    without_python = setup(checkout, path=str(tools))
    assert without_python.returncode == 1
    assert "Python 3.11 is needed" in without_python.stderr
    assert len(without_python.stderr.splitlines()) == 1


def test_the_launcher_says_what_to_do_before_setup(checkout: Path) -> None:
    ended = subprocess.run([checkout / "muster", "status"], check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "make setup" in ended.stderr


def test_the_launcher_runs_the_command_line_from_anywhere(tmp_path: Path) -> None:
    link = tmp_path / "muster"
    link.symlink_to(ROOT / "muster")
    ended = subprocess.run([link, "--help"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "audience" in ended.stdout
