"""Roaring bitmaps from rows of bits, in their portable format (https://github.com/RoaringBitmap/RoaringFormatSpec): a bitmap container is
the bits as they are, so this is a copy, where pyroaring would enter each number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from services.evaluator.engine.bits import ordinals_of

_NO_RUNS = 12346  # what such a bitmap begins with
CONTAINER_BYTES = (1 << 16) // 8
_LISTED_MAX = 4096  # a container of so many numbers or fewer is a list of them


def bitmap_of_bits(row: NDArray[np.uint8]) -> BitMap:
    """The numbers whose bits are set; number 0 is the lowest bit of the first byte."""
    missing = -len(row) % CONTAINER_BYTES
    containers = (np.pad(row, (0, missing)) if missing else row).reshape(-1, CONTAINER_BYTES)
    counts = np.bitwise_count(containers.view(np.uint64)).sum(axis=1, dtype=np.int64)
    keys = np.flatnonzero(counts)
    counts = counts[keys]
    bodies = [_body(containers[key], count) for key, count in zip(keys, counts, strict=True)]
    heads = np.stack([keys, counts - 1], axis=1).astype("<u2").tobytes()
    sizes = np.array([8 + 8 * len(keys), *map(len, bodies)])
    places = np.cumsum(sizes)[:-1].astype("<u4").tobytes()
    bitmap: BitMap = BitMap.deserialize(b"".join([np.array([_NO_RUNS, len(keys)], "<u4").tobytes(), heads, places, *bodies]))
    bitmap.run_optimize()
    return bitmap


def _body(container: NDArray[np.uint8], count: int) -> bytes:
    if count > _LISTED_MAX:
        return container.tobytes()
    return ordinals_of(container).astype("<u2").tobytes()
