"""A/B tests of audiences, as the definition service tells them: which of an audience's members a variation has (semantics: A/B tests)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.chassis.variations import CONTROL, CONTROL_NAME, variations_of

# Variations are told apart at partners by numbers of their own: beyond those of audiences, and whole numbers of JavaScript.
_FIRST_ID = 1 << 40
_VARIATIONS_MAX = 8


@dataclass(frozen=True, slots=True)
class AbTest:
    """A test. `variations` are names with whole percentages, in their order, without Control; one that was deleted has none."""

    account_id: int
    ab_test_id: int
    audience_id: int
    version: int
    variations: tuple[tuple[str, int], ...]

    @property
    def deleted(self) -> bool:
        return not self.variations

    def has(self, variation: str) -> bool:
        """Whether there is a variation of this name, Control among them."""
        return not self.deleted and (variation == CONTROL_NAME or any(name == variation for name, _ in self.variations))

    def id_of(self, variation: str) -> int:
        """The number of a variation in the test, from 1; Control has 0."""
        return 0 if variation == CONTROL_NAME else 1 + [name for name, _ in self.variations].index(variation)

    def inside(self, variation: str, mpids: Sequence[int]) -> frozenset[int]:
        """Those of these people whom the variation has."""
        if not self.has(variation):
            return frozenset()
        wanted = CONTROL if variation == CONTROL_NAME else self.id_of(variation) - 1
        people = np.array(mpids, np.int64)
        return frozenset(people[variations_of(self.ab_test_id, [share for _, share in self.variations], people) == wanted].tolist())


def id_downstream(audience_id: int, ab_test_id: int, variation_id: int) -> int:
    """The number under which partners know what is connected; `ab_test_id` is 0 for a whole audience."""
    return _FIRST_ID + ab_test_id * _VARIATIONS_MAX + variation_id if ab_test_id else audience_id


def name_downstream(audience: str, variation: str) -> str:
    """The name that partners see; `audience` is the external name."""
    return f"{audience} - {variation}" if variation else audience
