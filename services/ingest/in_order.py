"""A stream of requests that are worked on at once and answered in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


async def answers(requests: AsyncIterator[Request], work: Callable[[Request], Awaitable[Answer]], *, window: int) -> AsyncIterator[Answer]:
    """What `work` makes of each request. About `window` requests are on their way before the next is read.

    Where the stream of requests, or the work on one, fails, all that came before is answered first.
    """
    coming: asyncio.Queue[asyncio.Future[Answer] | None] = asyncio.Queue(window)
    begun: deque[asyncio.Future[Answer]] = deque()

    async def take() -> None:
        try:
            async for request in requests:
                begun.append(asyncio.ensure_future(work(request)))
                await coming.put(begun[-1])
            await coming.put(None)
        except Exception as error:
            begun.append(asyncio.get_running_loop().create_future())
            begun[-1].set_exception(error)
            await coming.put(begun[-1])

    taking = asyncio.create_task(take(), name="stream")
    try:
        while (working := await coming.get()) is not None:
            answer = await working
            begun.popleft()
            yield answer
    finally:
        taking.cancel()
        for working in begun:
            working.cancel()
