"""Waiting in a test for what another task or process brings about."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], bool | Awaitable[bool]], *, within_seconds: float = 15) -> None:
    """Return once the condition holds, which may be a coroutine function. Raises TimeoutError if it does not in time."""
    async with asyncio.timeout(within_seconds):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            # The condition may lie in another process, so there is nothing to be woken by.
            await asyncio.sleep(0.01)
