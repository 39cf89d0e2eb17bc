from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from services.chassis.app import App, PartFailed, running
from tests.fakes.waiting import eventually


class Traced:
    """A part that writes down what is done with it."""

    def __init__(self, name: str, trace: list[str]) -> None:
        self.name = name
        self.trace = trace

    async def start(self) -> None:
        self.trace.append(f"start {self.name}")

    async def ready(self) -> None:
        self.trace.append(f"ready {self.name}")

    async def drain(self) -> None:
        self.trace.append(f"drain {self.name}")

    async def stop(self) -> None:
        self.trace.append(f"stop {self.name}")


class Broken(Traced):
    async def start(self) -> None:
        await super().start()
        raise ValueError("no")


class Looping(Traced):
    def __init__(self, name: str, trace: list[str]) -> None:
        super().__init__(name, trace)
        self._end = asyncio.Event()

    async def run(self) -> None:
        await self._end.wait()
        self.trace.append(f"end {self.name}")

    async def stop(self) -> None:
        await super().stop()
        self._end.set()


async def test_parts_start_in_order_and_stop_in_reverse() -> None:
    trace: list[str] = []
    async with running(Traced("a", trace), Traced("b", trace)):
        trace.append("run")
    assert trace == ["start a", "start b", "ready a", "ready b", "run", "drain b", "drain a", "stop b", "stop a"]


async def test_a_part_that_cannot_start_stops_those_before_it() -> None:
    trace: list[str] = []
    with pytest.raises(ValueError, match="no"):
        async with running(Traced("a", trace), Broken("b", trace), Traced("c", trace)):
            trace.append("run")
    assert trace == ["start a", "start b", "drain b", "drain a", "stop b", "stop a"]


async def test_a_part_that_cannot_stop_keeps_no_other_from_stopping() -> None:
    class Stuck(Traced):
        async def stop(self) -> None:
            raise ValueError("no")

    trace: list[str] = []
    async with running(Traced("a", trace), Stuck("b", trace)):
        pass
    assert trace[-1] == "stop a"


async def test_a_loop_ends_by_itself_after_stop() -> None:
    trace: list[str] = []
    async with running(Looping("a", trace)):
        pass
    assert trace == ["start a", "ready a", "drain a", "stop a", "end a"]


async def test_tasks_begin_when_all_parts_are_started_and_end_before_any_stops() -> None:
    trace: list[str] = []

    async def task() -> None:
        trace.append("begin task")
        try:
            await asyncio.sleep(60)
        finally:
            trace.append("end task")

    app = App()
    app.add(Traced("a", trace))
    app.spawn("task", task())
    await app.start()
    await asyncio.sleep(0)
    await app.stop()
    assert trace == ["start a", "ready a", "begin task", "drain a", "end task", "stop a"]


@pytest.mark.parametrize("fails", [True, False])
async def test_a_task_that_dies_ends_the_app(fails: bool) -> None:
    async def task() -> None:
        if fails:
            raise ValueError("no")

    app = App()
    await app.start()
    app.spawn("task", task())
    with pytest.raises(PartFailed) as failure:
        await asyncio.wait_for(app.wait(), 5)
    assert str(failure.value.__cause__) == ("no" if fails else "None")
    await app.stop()


async def test_a_task_that_may_end_ends_alone() -> None:
    async def task() -> None:
        return

    app = App()
    app.spawn("task", task(), may_end=True)
    await app.start()
    await asyncio.sleep(0.01)
    app.request_stop()
    await app.wait()
    await app.stop()


PROGRAM = """
import asyncio, sys
from typing import ClassVar
from services.chassis.app import run
from services.chassis.settings import ServiceSettings

class Settings(ServiceSettings):
    service: ClassVar[str] = "weather"

class Part:
    async def start(self):
        if sys.argv[1] == "broken":
            raise ValueError("cannot start")
        if sys.argv[1] == "waiting":
            print("waiting", flush=True)
            await asyncio.sleep(60)
    async def ready(self):
        print("ready", flush=True)
    async def stop(self):
        print("closed", flush=True)

async def dying():
    await asyncio.sleep(0.1)
    raise ValueError("a task died")

async def build(app, settings):
    app.add(Part())
    if sys.argv[1] == "dying":
        app.spawn("dying", dying())

run(Settings, build)
"""


@pytest.fixture
def program(tmp_path: Path) -> Any:
    file = tmp_path / "program.py"
    file.write_text(textwrap.dedent(PROGRAM))

    def start(mode: str, **variables: str) -> subprocess.Popen[str]:
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": f"{root}:{root / 'gen'}", "MUSTER_TOKEN_SECRET": "s" * 32, **variables}
        command = [sys.executable, str(file), mode]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"never said {word}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_process_in_order_with_exit_code_0(program: Any, number: signal.Signals) -> None:
    process = program("well")
    until(process, "ready")
    process.send_signal(number)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "closed" in output.splitlines()


def test_a_signal_during_a_start_that_waits_stops_the_process(program: Any) -> None:
    process = program("waiting")
    until(process, "waiting")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "closed" in output.splitlines()


@pytest.mark.parametrize(("mode", "cause"), [("broken", "cannot start"), ("dying", "a task died")])
def test_a_part_or_task_that_fails_ends_the_process_with_exit_code_1_and_its_cause(program: Any, mode: str, cause: str) -> None:
    process = program(mode)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert cause in output
    assert "closed" in output.splitlines()


def test_settings_at_fault_end_the_process_with_exit_code_2_and_a_sentence(program: Any) -> None:
    process = program("well", MUSTER_TOKEN_SECRET="short", MUSTER_PARTITIONS="0")
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 2
    assert "MUSTER_TOKEN_SECRET" in errors
    assert "MUSTER_PARTITIONS" in errors
    assert "Traceback" not in errors


async def test_waiting_for_a_condition_gives_up_in_time() -> None:
    with pytest.raises(TimeoutError):
        await eventually(lambda: False, within_seconds=0.05)
