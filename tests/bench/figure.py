"""One measured figure."""

from __future__ import annotations

import time
from dataclasses import dataclass

processor_seconds = time.process_time
"""The clock for what only computes: of all threads of this process together. Others on the machine make it last longer, but not this."""


@dataclass(frozen=True, slots=True)
class Figure:
    """`beside` is what was measured in the same run to compare with, `ratio` how many times better `value` is than it; None: nothing to
    compare.

    `bound` says in words what must hold, and `ok` whether it does; an empty bound only reports.
    """

    name: str
    value: float
    unit: str
    beside: float | None
    ratio: float | None
    bound: str
    ok: bool
