"""Which partition a person belongs to. Fixed for good: stored data and stream subjects depend on it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def _mix(value: int) -> int:
    # splitmix64: each input bit changes about half of the output bits.
    value = (value + _STEP) & _MASK
    value = ((value ^ (value >> 30)) * _MIX_1) & _MASK
    value = ((value ^ (value >> 27)) * _MIX_2) & _MASK
    return value ^ (value >> 31)


def partition_of(account_id: int, mpid: int, partitions: int) -> int:
    """The partition, from 0 up to `partitions` (excluded), of a person of an account. Both numbers are signed 64-bit."""
    return _mix(_mix(account_id & _MASK) ^ (mpid & _MASK)) % partitions


def partitions_of(account_id: int, mpids: npt.NDArray[np.int64], partitions: int) -> npt.NDArray[np.int64]:
    """`partition_of` for many people of one account at once."""
    with np.errstate(over="ignore"):
        value = mpids.astype(np.int64, copy=False).view(np.uint64) ^ np.uint64(_mix(account_id & _MASK))
        value = value + np.uint64(_STEP)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(_MIX_1)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(_MIX_2)
        value = value ^ (value >> np.uint64(31))
        return (value % np.uint64(partitions)).astype(np.int64)
