"""Runs nats-server and all services as processes of this machine: starts, watches, restarts and stops them."""

from __future__ import annotations

import asyncio
import enum
import fcntl
import os
import secrets
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Self

from cli import devfile, nats_server
from cli.devfile import DevFile
from cli.part import Part, Service
from cli.ports import SERVICES, Ports, free_ports, taken
from services.chassis import auth

ROOT = Path(__file__).resolve().parent.parent
NATS = "nats"

# Ways in first, then who works on what came in, then the bus that all of them need.
_STOP_ORDER = (("console", "ingest"), ("definition", "sharing", "export", "evaluator", "forwarder"), (NATS,))
_STOP_PATIENCE_SECONDS = 15.0
_START_SECONDS = 60.0
# A process that dies before it was healthy is started so often before the whole start is given up.
_TRIES_AT_START = 3
_WAITS_BEFORE_RESTART = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
# Healthy for this long, an earlier death is forgotten.
_CALM_SECONDS = 30.0
_TOKEN_TTL = timedelta(days=30)


class SupervisorFault(Exception):
    """The processes could not be started; the text says which, why, and where to read more."""


class Change(enum.Enum):
    """What happened to a process."""

    STARTED = "started"
    HEALTHY = "healthy"
    DIED = "died"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a process. `code`: the exit code, or minus the signal that ended it; None unless it died."""

    part: str
    change: Change
    starts: int
    code: int | None = None


def _nobody(_: Event) -> None:
    """Tell nobody."""


class Supervisor:
    """The processes of one installation, whose data lies in `data_dir`. `async with Supervisor(folder) as stack:` in tests.

    A process that dies is started again. `environment` is added to that of every process, or of one service with
    `environment_of={"evaluator": {...}}`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        ports: Ports | None = None,
        services: Sequence[str] = SERVICES,
        environment: Mapping[str, str] | None = None,
        environment_of: Mapping[str, Mapping[str, str]] | None = None,
        on_event: Callable[[Event], None] = _nobody,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.log_dir = self.data_dir / "logs"
        # None: free ports, chosen here.
        self.ports = ports or free_ports()
        self.services = tuple(services)
        self._environment = dict(environment or {})
        self._environment_of = {name: dict(more) for name, more in (environment_of or {}).items()}
        self._on_event = on_event
        self._parts: dict[str, Part] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        # Processes that are meant to be down.
        self._held: set[str] = set()
        self._lock: IO[str] | None = None
        self._secret = ""
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def dev(self) -> DevFile:
        """Addresses and tokens, as in `<data_dir>/dev.json`. Only after `start`."""
        known = devfile.read(self.data_dir)
        if known is None:
            raise SupervisorFault(f"{self.data_dir / devfile.NAME} is gone.")
        return known

    def part(self, name: str) -> Part:
        """The process of this name: `nats` or a service. Only after `start`."""
        return self._parts[name]

    def token(self, account_id: int, *, subject: str = "dev") -> str:
        """A token for an account; 0 is the operator of the installation."""
        return auth.mint(self._secret, account_id=account_id, subject=subject, roles=[auth.OPERATOR], ttl=_TOKEN_TTL, now=datetime.now(UTC))

    async def start(self, *, timeout_seconds: float = _START_SECONDS) -> None:
        """Start everything and return once all are healthy. Raises SupervisorFault, with all stopped, if that fails."""
        self._claim()
        try:
            self._prepare()
            async with asyncio.timeout(timeout_seconds):
                # The services wait for NATS by themselves, so nobody waits for anybody here.
                async with asyncio.TaskGroup() as group:
                    for part in self._parts.values():
                        group.create_task(self._first_start(part))
        except TimeoutError:
            slow = [name for name, part in self._parts.items() if not part.healthy]
            await self.stop()
            raise SupervisorFault(f"Not healthy after {timeout_seconds:.0f} s: {', '.join(slow)}. See {self.log_dir}.") from None
        except ExceptionGroup as faults:
            await self.stop()
            raise faults.exceptions[0] from None
        except BaseException:
            await self.stop()
            raise

    async def abandon(self) -> None:
        """End everything by SIGKILL, for an installation whose data nobody needs again."""
        await self._stop_watching()
        for part in self._parts.values():
            part.send(signal.SIGKILL)
        await asyncio.gather(*(part.died() for part in self._parts.values()))
        await self.stop()

    async def stop(self) -> None:
        """Stop everything in order. May be called again."""
        await self._stop_watching()
        for names in _STOP_ORDER:
            group = [self._parts[name] for name in names if name in self._parts and self._parts[name].running]
            await asyncio.gather(*(part.stop(patience_seconds=_STOP_PATIENCE_SECONDS) for part in group))
            for part in group:
                await self._tell(part, Change.STOPPED)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def kill(self, name: str, *, restart: bool = True) -> None:
        """End a process by SIGKILL and return once it is dead. It is started again at once, or not before `launch` if not `restart`."""
        await self._end(name, signal.SIGKILL, restart=restart)

    async def terminate(self, name: str, *, restart: bool = True) -> None:
        """As `kill`, by SIGTERM: the process ends in its own order."""
        await self._end(name, signal.SIGTERM, restart=restart)

    async def launch(self, name: str) -> None:
        """Start a process that was ended without `restart`, and return once it is healthy."""
        self._held.discard(name)
        part = self._parts[name]
        if not part.running:
            await part.start()
            await self._tell(part, Change.STARTED)
            self._watch(part)
        await self.wait_healthy(name)

    async def restart(self, name: str) -> None:
        """End a process by SIGTERM, start it again, and return once it is healthy."""
        await self.terminate(name, restart=False)
        await self.launch(name)

    async def wait_healthy(self, name: str | None = None, *, timeout_seconds: float = _START_SECONDS) -> None:
        """Return once this process, or all of them, are healthy. Raises SupervisorFault after the timeout."""
        parts = [self._parts[name]] if name else list(self._parts.values())
        try:
            async with asyncio.timeout(timeout_seconds):
                async with self._changed:
                    await self._changed.wait_for(lambda: all(part.running and part.healthy for part in parts))
        except TimeoutError:
            slow = [part for part in parts if not part.healthy]
            words = "\n".join(f"{part.name}: {part.last_words()[-1000:]}" for part in slow)
            raise SupervisorFault(f"Not healthy after {timeout_seconds:.0f} s:\n{words}") from None

    async def _stop_watching(self) -> None:
        for watcher in self._watchers.values():
            watcher.cancel()
        await asyncio.gather(*self._watchers.values(), return_exceptions=True)
        self._watchers.clear()

    def _claim(self) -> None:
        """Make this the only supervisor of the data folder."""
        # What lies there is personal data, and the secret that signs tokens.
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log_dir.mkdir(exist_ok=True)
        lock = (self.data_dir / "dev.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise SupervisorFault(f"Another `muster dev` runs with the data folder {self.data_dir}.") from None
        self._lock = lock

    def _prepare(self) -> None:
        busy = taken(self.ports)
        if busy:
            used = ", ".join(f"{port} for {name}" for name, port in busy.items())
            raise SupervisorFault(f"Ports are in use: {used}. Choose others with --port-offset or --ports auto.")
        before = devfile.read(self.data_dir)
        self._secret = before.token_secret if before else secrets.token_urlsafe(48)
        dev = DevFile(
            nats_url=self.ports.nats_url,
            grpc={name: self.ports.grpc_address(name) for name in self.services},
            http={name: self.ports.http_url(name) for name in self.ports.http if name in self.services},
            token_secret=self._secret,
            account_id=before.account_id if before else None,
            pid=os.getpid(),
        )
        accounts = [int(name) for name in before.tokens if name.isdigit()] if before else []
        tokens = {auth.OPERATOR: self.token(auth.OPERATOR_ACCOUNT), **{str(account): self.token(account) for account in accounts}}
        devfile.write(self.data_dir, replace(dev, tokens=tokens))
        command = nats_server.command(self.data_dir / NATS, self.ports.nats)
        self._parts[NATS] = Part(NATS, command, os.environ, cwd=self.data_dir, log_path=self.log_dir / f"{NATS}.log", port=self.ports.nats)
        for name in self.services:
            self._parts[name] = Service(
                name,
                [sys.executable, "-m", f"services.{name}"],
                self._service_environment(name, dev),
                cwd=ROOT,
                log_path=self.log_dir / f"{name}.jsonl",
                port=self.ports.grpc[name],
            )

    def _service_environment(self, name: str, dev: DevFile) -> dict[str, str]:
        """The settings of a service, over those that this process was given."""
        path = os.pathsep.join([str(ROOT), str(ROOT / "gen"), *filter(None, [os.environ.get("PYTHONPATH")])])
        settings = {
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "MUSTER_DATA_DIR": str(self.data_dir),
            "MUSTER_NATS_URL": dev.nats_url,
            "MUSTER_TOKEN_SECRET": dev.token_secret,
            "MUSTER_LOG_FORMAT": "json",
            f"MUSTER_{name.upper()}_GRPC_PORT": str(self.ports.grpc[name]),
            **{f"MUSTER_{service.upper()}_ADDRESS": address for service, address in dev.grpc.items()},
        }
        if name in self.ports.http:
            settings[f"MUSTER_{name.upper()}_HTTP_PORT"] = str(self.ports.http[name])
        if name == "forwarder":
            # On one's own machine the partner is often a program of one's own, too.
            settings["MUSTER_FORWARDER_ALLOW_PRIVATE_TARGETS"] = "true"
        return {**os.environ, **settings, **self._environment, **self._environment_of.get(name, {})}

    async def _first_start(self, part: Part) -> None:
        for left in reversed(range(_TRIES_AT_START)):
            await part.start()
            await self._tell(part, Change.STARTED)
            await part.wait_healthy()
            if part.healthy:
                await self._tell(part, Change.HEALTHY)
                self._watch(part)
                return
            code = await part.died()
            await self._tell(part, Change.DIED, code)
            if not left:
                raise SupervisorFault(f"{part.name} does not start ({ending(code)}); {part.log_path} ends with:\n{part.last_words()}")
            await asyncio.sleep(0.2)

    def _watch(self, part: Part) -> None:
        previous = self._watchers.get(part.name)
        if previous is None or previous.done():
            self._watchers[part.name] = asyncio.create_task(self._keep(part), name=f"watch {part.name}")

    async def _keep(self, part: Part) -> None:
        """Start the process again each time that it dies, sooner at first than later."""
        deaths = 0
        while True:
            began = asyncio.get_running_loop().time()
            if not part.healthy:
                await part.wait_healthy()
                if part.healthy:
                    await self._tell(part, Change.HEALTHY)
            code = await part.died()
            await self._tell(part, Change.DIED, code)
            if part.name in self._held:
                return
            calm = asyncio.get_running_loop().time() - began > _CALM_SECONDS
            deaths = 0 if calm else deaths
            await asyncio.sleep(_WAITS_BEFORE_RESTART[min(deaths, len(_WAITS_BEFORE_RESTART) - 1)])
            deaths += 1
            if part.name in self._held:
                return
            await part.start()
            await self._tell(part, Change.STARTED)

    async def _end(self, name: str, number: signal.Signals, *, restart: bool) -> None:
        part = self._parts[name]
        if not restart:
            self._held.add(name)
        dying = part.process
        part.healthy = False
        part.send(number)
        if dying is not None:
            await dying.wait()
        watcher = self._watchers.get(name)
        if not restart and watcher is not None:
            await watcher

    async def _tell(self, part: Part, change: Change, code: int | None = None) -> None:
        self._on_event(Event(part.name, change, part.starts, code))
        async with self._changed:
            self._changed.notify_all()


def ending(code: int) -> str:
    """How a process ended, in words: `exit code 1`, `killed by SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
