"""Runs a part of the benchmarks in a process of its own, so that none starts with another's memory."""

from __future__ import annotations

import importlib
import multiprocessing
import queue

from tests.bench.figure import Figure


def _measure(part: str, scale: float, results: multiprocessing.Queue[list[Figure]]) -> None:
    results.put(importlib.import_module(f"tests.bench.{part}").run(scale))


def measure(part: str, scale: float) -> list[Figure]:
    """The figures of a part. Ends the program where the part fails."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[Figure]] = context.Queue()
    process = context.Process(target=_measure, args=(part, scale, results))
    process.start()
    while True:
        try:
            figures = results.get(timeout=1)
            break
        except queue.Empty:
            if not process.is_alive():
                raise SystemExit(f"the part {part} failed with exit code {process.exitcode}") from None
    process.join()
    return figures
