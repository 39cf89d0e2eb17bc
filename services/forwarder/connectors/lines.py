"""The lines to partners: one HTTP client and one pace for each configuration, so that no partner waits for another's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx2

from services.chassis.clock import Clock
from services.forwarder.connectors.base import Spec
from services.forwarder.connectors.http import PartnerHttp, new_client


class Pace:
    """Lets requests through at most at a rate, evenly; the connections of a configuration share it, as they share the partner's limit."""

    def __init__(self) -> None:
        self._next = 0.0

    async def wait(self, rate: float | None) -> None:
        """Return when the next request may go, at most `rate` a second."""
        if rate is None:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self._next)
        self._next = turn + 1 / rate
        if turn > now:
            await asyncio.sleep(turn - now)


@dataclass(slots=True)
class _Line:
    version: int
    client: httpx2.AsyncClient
    pace: Pace


class PartnerLines:
    """A part of the app: makes the lines as they are asked for, and closes them at the end."""

    def __init__(self, *, allow_private: bool, timeout_seconds: float, clock: Clock) -> None:
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._lines: dict[int, _Line] = {}

    async def start(self) -> None:
        """Nothing to prepare."""

    async def stop(self) -> None:
        """Close every line."""
        for line in self._lines.values():
            await line.client.aclose()
        self._lines.clear()

    async def of(self, configuration_id: int, version: int, spec: Spec) -> tuple[PartnerHttp, Pace]:
        """The line of a configuration, and its pace. A configuration that was changed gets a new client, and keeps its pace."""
        line = self._lines.get(configuration_id)
        if line is None or line.version < version:
            pace = line.pace if line else Pace()
            if line is not None:
                await line.client.aclose()
            line = self._lines[configuration_id] = _Line(version, self._client(), pace)
        return self._http(line.client, spec), line.pace

    async def close(self, configuration_id: int) -> None:
        """A configuration is gone: close its line."""
        if (line := self._lines.pop(configuration_id, None)) is not None:
            await line.client.aclose()

    def single(self, spec: Spec) -> tuple[PartnerHttp, httpx2.AsyncClient]:
        """A line for one test; whoever asked closes the client."""
        client = self._client()
        return self._http(client, spec), client

    def _client(self) -> httpx2.AsyncClient:
        return new_client(allow_private=self._allow_private, timeout_seconds=self._timeout_seconds)

    def _http(self, client: httpx2.AsyncClient, spec: Spec) -> PartnerHttp:
        return PartnerHttp(client, causes=spec.causes, timeout_seconds=self._timeout_seconds, clock=self._clock)
