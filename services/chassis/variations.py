"""Which variation of an A/B test a person gets: the test and the MPID alone decide, so editing the audience moves nobody. Fixed for good,
and the same in every service. semantics: A/B tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.chassis.partition import partitions_of

_POINTS = 100
_TESTS = 0x5EED << 32  # so that a test and an account of one number deal people differently
CONTROL = -1
# What people and partners call it.
CONTROL_NAME = "Control"


def variations_of(ab_test_id: int, percentages: Sequence[int], mpids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place of each person's variation among the percentages, which add up to at most 100; CONTROL has the rest."""
    points = partitions_of(_TESTS + ab_test_id, mpids, _POINTS)
    places = np.searchsorted(np.cumsum(np.array(percentages, np.int64)), points, "right")
    return np.where(places == len(percentages), CONTROL, places)
