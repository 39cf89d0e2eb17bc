"""The supervisor, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from cli import devfile
from cli.part import serves
from cli.ports import PortFault, free_ports, taken, usual_ports
from cli.supervisor import NATS, Change, Event, Supervisor, SupervisorFault
from services.chassis import auth
from tests.cli.running import ROOT
from tests.fakes.waiting import eventually


@pytest.fixture
def told() -> list[Event]:
    """What the supervisor told."""
    return []


@pytest.fixture
async def stack(tmp_path: Path, told: list[Event]) -> AsyncIterator[Supervisor]:
    """nats-server and two small services."""
    async with Supervisor(tmp_path, services=["sharing", "export"], on_event=told.append) as supervisor:
        yield supervisor


async def test_a_service_that_is_killed_is_started_again(stack: Supervisor, told: list[Event]) -> None:
    before = stack.part("export").pid
    await stack.kill("export")
    await stack.wait_healthy("export")
    assert stack.part("export").pid not in (before, None)
    assert await serves(stack.ports.grpc_address("export"))
    deaths = [event for event in told if event.change is Change.DIED]
    assert [(event.part, event.code) for event in deaths] == [("export", -signal.SIGKILL)]


async def test_nats_that_is_killed_comes_back_and_the_services_stay(stack: Supervisor) -> None:
    before = stack.part("sharing").pid
    await stack.kill(NATS)
    await stack.wait_healthy()
    assert stack.part("sharing").pid == before


async def test_a_service_killed_for_good_stays_down_until_it_is_launched(stack: Supervisor) -> None:
    await stack.kill("sharing", restart=False)
    await asyncio.sleep(0.3)
    assert stack.part("sharing").pid is None
    await stack.launch("sharing")
    assert await serves(stack.ports.grpc_address("sharing"))
    # And is watched again.
    await stack.kill("sharing")
    await stack.wait_healthy("sharing")


async def test_a_restart_ends_the_old_process_in_good_order(stack: Supervisor, told: list[Event]) -> None:
    await stack.restart("export")
    assert [(event.part, event.code) for event in told if event.change is Change.DIED] == [("export", 0)]


async def test_stopping_leaves_no_process_and_no_listener(stack: Supervisor) -> None:
    pids = [stack.part(name).pid for name in (NATS, "sharing", "export")]
    await stack.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    assert taken(stack.ports) == {}


async def test_addresses_and_tokens_are_for_the_owner_only(stack: Supervisor) -> None:
    path = stack.data_dir / devfile.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known = stack.dev
    assert known.grpc["sharing"] == stack.ports.grpc_address("sharing")
    assert auth.verify(known.token_secret, known.tokens["operator"], datetime.now(UTC)).is_operator


async def test_the_secret_outlives_a_restart_of_everything(tmp_path: Path) -> None:
    secrets = set()
    for _ in range(2):
        async with Supervisor(tmp_path, services=[]) as supervisor:
            secrets.add(supervisor.dev.token_secret)
    assert len(secrets) == 1


async def test_a_second_supervisor_of_a_folder_is_refused(stack: Supervisor) -> None:
    with pytest.raises(SupervisorFault, match="Another `muster dev`"):
        await Supervisor(stack.data_dir, services=[]).start()


async def test_ports_in_use_are_named(stack: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(SupervisorFault, match=rf"{stack.ports.nats} for nats"):
        await Supervisor(tmp_path / "other", ports=stack.ports, services=[]).start()


async def test_a_service_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SupervisorFault, match=r"(?s)sharing does not start \(exit code 2\).*MUSTER_PARTITIONS"):
        await Supervisor(tmp_path, services=["sharing"], environment={"MUSTER_PARTITIONS": "none"}).start()


async def test_when_the_supervisor_is_killed_nothing_stays_behind(tmp_path: Path) -> None:
    if sys.platform != "linux":
        return
    program = (
        "import asyncio, pathlib, sys\n"
        "from cli.supervisor import Supervisor\n"
        "async def main():\n"
        "    async with Supervisor(pathlib.Path(sys.argv[1]), services=['sharing']) as stack:\n"
        "        print(stack.part('nats').pid, stack.part('sharing').pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(tmp_path)), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    pids = [int(word) for word in (await process.stdout.readline()).split()]
    assert len(pids) == 2
    process.kill()
    await process.wait()
    await eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_free_ports_are_free_and_differ() -> None:
    ports = free_ports()
    assert len(set(ports.all().values())) == len(ports.all())
    assert taken(ports) == {}


def test_an_offset_moves_every_port() -> None:
    moved, usual = usual_ports(100).all(), usual_ports().all()
    assert {name: port - 100 for name, port in moved.items()} == usual
    with pytest.raises(PortFault):
        usual_ports(60_000)
