"""`muster import` against a whole installation on this machine, every service a process of its own, the command another one.

Beside it, in the same run, is a dry run of the same file: read, sent and checked, and nothing kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cli.supervisor import Supervisor
from tests.bench.figure import Figure
from tests.cli.running import ROOT
from tests.e2e.installation import QUICK, Installation
from tests.fakes.webhook_partner import WebhookPartner

ROWS = 1_000_000
PEOPLE = 200_000


def _events(path: Path, rows: int, people: int) -> None:
    chance = np.random.default_rng(1)
    who, price, name = chance.integers(0, people, rows), chance.integers(0, 10_000, rows), chance.integers(0, 5, rows)
    _write(
        path,
        "customer_id,event_name,timestamp,price,place",
        (
            f"bench-{one},event {kind},2026-01-02T03:{row // 60 % 60:02}:{row % 60:02}Z,{cents / 100:.2f},place {cents % 50}"
            for row, (one, cents, kind) in enumerate(zip(who.tolist(), price.tolist(), name.tolist(), strict=True))
        ),
    )


def _people(path: Path, rows: int, people: int) -> None:
    _write(
        path,
        "customer_id,plan,city,credit",
        (f"bench-{row % people},plan {row % 5},city {row * 7919 % 2000},{row % 10_000 / 100:.2f}" for row in range(rows)),
    )


def _write(path: Path, header: str, lines: Iterable[str]) -> None:
    with path.open("w") as file:
        file.write(header + "\n")
        file.writelines(line + "\n" for line in lines)


async def _rate(installation: Installation, folder: Path, path: Path, *options: str) -> float:
    """Rows a second, as the command tells."""
    stack = installation.stack
    environment = {
        **os.environ,
        "MUSTER_DATA_DIR": str(folder),
        "MUSTER_INGEST_ADDRESS": stack.ports.grpc_address("ingest"),
        "MUSTER_TOKEN": stack.token(installation.account_id),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
    }
    command = [sys.executable, "-m", "cli", "import", str(path), "--input", str(installation.input_id), "--json", *options]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return float(json.loads(out)["rows_per_second"])


async def _measure(folder: Path, scale: float) -> list[Figure]:
    rows, people = int(ROWS * scale), int(PEOPLE * scale)
    events, attributes = folder / "events.csv", folder / "people.csv"
    _events(events, rows, people)
    _people(attributes, rows, people)
    newcomers = folder / "newcomers.csv"
    _people(newcomers, people, people)
    async with WebhookPartner("no secret at all") as partner, Supervisor(folder / "muster", environment=QUICK) as stack:
        installation = Installation(stack, partner)
        await installation.found(connected=False)
        new = await _rate(installation, folder, newcomers)
        checked = await _rate(installation, folder, events, "--dry-run")
        kept = await _rate(installation, folder, events)
        checked_people = await _rate(installation, folder, attributes, "--dry-run")
        kept_people = await _rate(installation, folder, attributes)
        await installation.close()
    return [
        Figure("import: events of a CSV file", kept, "rows/s", checked, kept / checked, ">= 50,000", kept >= 50_000),
        Figure(
            "import: user attributes of one",
            kept_people,
            "rows/s",
            checked_people,
            kept_people / checked_people,
            ">= 100,000",
            kept_people >= 100_000,
        ),
        Figure("import: user attributes of people who are new", new, "rows/s", kept_people, new / kept_people, "", True),
    ]


def run(scale: float = 1.0) -> list[Figure]:
    """The figures of imports; about a minute at scale 1."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-", ignore_cleanup_errors=True) as folder:
        return asyncio.run(_measure(Path(folder), scale))
