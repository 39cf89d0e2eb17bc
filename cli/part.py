"""One process of an installation on one machine: its command, its log, and whether it answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cli.ports import HOST

_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 1.0
_LOG_TAIL_BYTES = 4_000


class Part:
    """A process that may be started many times. Its output is appended to `log_path`."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], *, cwd: Path, log_path: Path, port: int) -> None:
        self.name = name
        self.log_path = log_path
        self.port = port
        # How often it was started.
        self.starts = 0
        # Whether it answered that it serves, since it was last started.
        self.healthy = False
        self._command = [*_die_with_us(), *command]
        self._environment = dict(environment)
        self._cwd = cwd
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0

    @property
    def process(self) -> asyncio.subprocess.Process | None:
        """The newest process; None before the first start. It may be dead."""
        return self._process

    @property
    def pid(self) -> int | None:
        """The number of the running process; None while none runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process; returns before it is healthy."""
        self.healthy = False
        self.starts += 1
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._cwd,
                # Ctrl-C reaches the supervisor alone, which then stops all in order.
                start_new_session=True,
            )

    async def died(self) -> int:
        """Wait for the end of the process. The exit code, or the signal's number as a negative one; 0 where none was started."""
        if self._process is None:
            return 0
        code = await self._process.wait()
        self.healthy = False
        return code

    async def wait_healthy(self) -> None:
        """Return once it answers that it serves, or once it is dead: see `healthy`."""
        while self.running and not self.healthy:
            self.healthy = await self._answers()
            if not self.healthy:
                await asyncio.sleep(_POLL_SECONDS)

    async def stop(self, *, patience_seconds: float) -> None:
        """Ask it to end, and end it when it takes longer than that."""
        if self._process is None or not self.running:
            return
        self.send(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.died(), patience_seconds)
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self.died()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self._process is not None and self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def last_words(self) -> str:
        """The end of what it wrote since it was last started."""
        with self.log_path.open("rb") as log:
            log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace").strip()

    async def _answers(self) -> bool:
        """Whether the process listens and says that it serves."""
        return await _listens(self.port)


class Service(Part):
    """A service of Muster: serves the standard gRPC health service."""

    async def _answers(self) -> bool:
        return await _listens(self.port) and await serves(f"{HOST}:{self.port}")


async def serves(address: str) -> bool:
    """Whether the gRPC health service at this address says SERVING."""
    # A new channel each time: one that failed would wait before it tries again.
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_ANSWER_SECONDS)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(HOST, port), _ANSWER_SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _die_with_us() -> list[str]:
    """What to put before a command so that it ends when the supervisor is killed; nothing on systems that cannot."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
