"""A process: builds its parts, starts them in order, owns every task, and stops in reverse when told to."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn, Protocol, TypeVar, runtime_checkable

import uvloop

from . import log as logs
from .settings import ServiceSettings, SettingsFault

log = logs.get(__name__)


@runtime_checkable
class Part(Protocol):
    """Something that starts and stops. It may also have `run` (its loop, which ends after `stop`), `ready` and `drain`."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@runtime_checkable
class Runs(Protocol):
    """A part with a loop."""

    async def run(self) -> None: ...


@runtime_checkable
class Readies(Protocol):
    """A part that wants to know when every part is started."""

    async def ready(self) -> None: ...


@runtime_checkable
class Drains(Protocol):
    """A part that wants to know that the process is about to stop, before anything does."""

    async def drain(self) -> None: ...


P = TypeVar("P", bound=Part)
S = TypeVar("S", bound=ServiceSettings)


class PartFailed(Exception):
    """A loop or task that should go on ended; its cause is this exception's cause."""


class App:
    """The parts and tasks of one process."""

    def __init__(self, *, grace_seconds: float = 10) -> None:
        self._grace_seconds = grace_seconds
        self._parts: list[Part] = []
        self._started: list[Part] = []
        self._loops: dict[int, asyncio.Task[None]] = {}
        self._waiting: list[tuple[str, Coroutine[Any, Any, None], bool]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._stopping = False
        self.is_ready = False
        self._failure: PartFailed | None = None

    def add(self, part: P) -> P:
        """Own a part: parts start in the order in which they are added, and stop in reverse."""
        self._parts.append(part)
        return part

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, None], *, may_end: bool = False) -> None:
        """Own a task, begun once all parts are started. If it fails, or ends without `may_end`, the process stops with exit code 1."""
        if self.is_ready:
            self._begin(name, coroutine, may_end)
        else:
            self._waiting.append((name, coroutine, may_end))

    def request_stop(self) -> None:
        """Ask the process to stop, as a signal does."""
        self._stop.set()

    async def start(self) -> None:
        """Start every part in order, then tell each that all are started, then begin the tasks."""
        for part in self._parts:
            self._started.append(part)
            await part.start()
            if isinstance(part, Runs):
                self._loops[id(part)] = self._begin(type(part).__name__, part.run(), False)
        self.is_ready = True
        for name, coroutine, may_end in self._waiting:
            self._begin(name, coroutine, may_end)
        self._waiting.clear()
        for part in self._parts:
            if isinstance(part, Readies):
                await part.ready()

    async def wait(self) -> None:
        """Return when told to stop. Raises PartFailed if a loop or a task ended that should not have."""
        await self._stop.wait()
        self.check()

    def check(self) -> None:
        """Raise PartFailed if a loop or a task ended that should not have."""
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """Tell the parts that the end is near, end the tasks, then stop what was started in reverse order, each within the grace."""
        self._stopping = True
        for _, coroutine, _ in self._waiting:
            coroutine.close()
        for part in reversed(self._started):
            if isinstance(part, Drains):
                await self._guarded(part, part.drain())
        own = self._tasks - set(self._loops.values())
        await _end(own)
        for part in reversed(self._started):
            await self._guarded(part, part.stop())
            if (loop := self._loops.get(id(part))) is not None:
                await _end({loop}, patience_seconds=1)
        self._started.clear()

    async def _guarded(self, part: Part, ending: Awaitable[None]) -> None:
        # One part that fails to stop must not keep the others from stopping.
        try:
            async with asyncio.timeout(self._grace_seconds + 5):
                await ending
        except Exception as error:
            log.error("part_not_stopped", part=type(part).__name__, exc_info=error)

    def _begin(self, name: str, coroutine: Coroutine[Any, Any, None], may_end: bool) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._over(done, may_end))
        return task

    def _over(self, task: asyncio.Task[None], may_end: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            error: BaseException | None = None
        else:
            error = task.exception()
        if self._stopping:
            if error is not None:
                log.error("task_failed", task=task.get_name(), exc_info=error)
            return
        if error is None and may_end:
            return
        log.critical("task_died", task=task.get_name(), exc_info=error)
        if self._failure is None:
            self._failure = PartFailed(f"{task.get_name()} ended")
            self._failure.__cause__ = error
        self._stop.set()


async def _end(tasks: set[asyncio.Task[None]], *, patience_seconds: float = 0) -> None:
    if tasks and patience_seconds:
        await asyncio.wait(tasks, timeout=patience_seconds)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=5)


@asynccontextmanager
async def running(*parts: Part) -> AsyncIterator[App]:
    """Run parts, as an app does, for the length of a block: what tests use. A loop that failed raises PartFailed at the end."""
    app = App(grace_seconds=2)
    for part in parts:
        app.add(part)
    try:
        await app.start()
        yield app
        app.check()
    finally:
        await app.stop()


def run(settings_class: type[S], build: Callable[[App, S], Awaitable[None]]) -> NoReturn:
    """The `main` of a service: read the settings, build the parts, run until SIGTERM or SIGINT.

    Exit codes: 0 after a signal, 1 when a part could not start or died, 2 when the settings are at fault.
    """
    try:
        settings = settings_class.load()
    except SettingsFault as fault:
        sys.stderr.write(f"The settings of {settings_class.service} are at fault:\n{fault}\n")
        sys.exit(2)
    logs.configure(settings.service, settings.log_level, settings.log_format)
    sys.exit(uvloop.run(_main(settings, build)))


async def _main(settings: S, build: Callable[[App, S], Awaitable[None]]) -> int:
    app = App(grace_seconds=settings.shutdown_grace_seconds)
    main = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def told(number: signal.Signals) -> None:
        log.info("stop_requested", signal=number.name)
        if not app.is_ready and main is not None:
            # Still starting, perhaps waiting for NATS: do not wait for that.
            main.cancel()
        app.request_stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    code = 0
    try:
        await build(app, settings)
        await app.start()
        log.info("started")
        await app.wait()
    except asyncio.CancelledError:
        if main is not None:
            main.uncancel()
    except Exception as error:
        log.critical("failed", exc_info=error)
        code = 1
    await app.stop()
    log.info("stopped", exit_code=code)
    return code
