"""A/B tests: an audience dealt into variations beside Control (semantics: A/B tests). Who gets which is `services.chassis.variations`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.chassis.errors import FailedPrecondition, NotFound
from services.chassis.variations import CONTROL_NAME

from .audiences import Audience, check_move
from .faults import Fault, Findings, Place, Reason
from .lifecycle import Move
from .texts import check_name, folded

VARIATIONS_MAX = 5
WHOLE = 100


class AbTestNotFound(NotFound):
    """There is no such test in the caller's account, or the audience has none."""


class AbTestExists(FailedPrecondition):
    """The audience has a test already."""


@dataclass(frozen=True, slots=True)
class Variation:
    """One part of a test: `percentage` of all people, whole."""

    name: str
    percentage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AbTest:
    """A test, fixed once it is made. A deleted one, whose `delete_time_ms` is not 0, keeps its variations for the record."""

    ab_test_id: int = 0
    account_id: int
    audience_id: int
    version: int = 1
    name: str
    variations: tuple[Variation, ...]
    create_time_ms: int
    created_by: str
    delete_time_ms: int = 0

    @property
    def deleted(self) -> bool:
        return self.delete_time_ms > 0


def judge_test(test: AbTest) -> Sequence[Fault]:
    """All that is wrong with a test; the paths begin inside it, `variations[1].percentage`."""
    findings = Findings()
    place = Place(findings)
    check_name(test.name, place.at("name"))
    if not test.variations:
        mend = f"name 1 to {VARIATIONS_MAX}, {CONTROL_NAME} comes by itself."
        place.at("variations").fault(Reason.MISSING, f"The test has no variation; {mend}")
    if len(test.variations) > VARIATIONS_MAX:
        place.at("variations").fault(Reason.TOO_MANY, f"There are {len(test.variations)} variations; keep {VARIATIONS_MAX} or fewer.")
        return findings.faults
    seen = {folded(CONTROL_NAME)}
    for index, variation in enumerate(test.variations):
        at = place.at("variations", index)
        check_name(variation.name, at.at("name"))
        if folded(variation.name) == folded(CONTROL_NAME):
            at.at("name").fault(
                Reason.DUPLICATE_NAME, f"`{CONTROL_NAME}` is there by itself and holds what is left; leave it out or name it otherwise."
            )
        elif folded(variation.name) in seen:
            at.at("name").fault(Reason.DUPLICATE_NAME, f"There is another variation {variation.name!r}; give each its own name.")
        seen.add(folded(variation.name))
        if not 1 <= variation.percentage <= WHOLE:
            at.at("percentage").fault(Reason.OUT_OF_RANGE, f"It is {variation.percentage}%; give a whole percentage from 1 to {WHOLE}.")
    total = sum(variation.percentage for variation in test.variations)
    if total > WHOLE:
        place.at("variations").fault(Reason.OVER_100_PERCENT, f"The variations add up to {total}%; lower them to {WHOLE}% or less in all.")
    return findings.faults


def with_test(audience: Audience, test: AbTest, *, author: str, now_ms: int) -> Audience:
    """The audience with a new test. Raises AbTestExists, AudienceDeleted and AudienceArchived."""
    check_move(audience, Move.EDIT)
    if audience.ab_test_id:
        raise AbTestExists(
            f"The audience {audience.audience_id} has the test {audience.ab_test_id}; delete that first.",
            audience_id=audience.audience_id,
            ab_test_id=audience.ab_test_id,
        )
    return replace(audience, ab_test_id=test.ab_test_id, version=audience.version + 1, update_time_ms=now_ms, updated_by=author)


def without_test(audience: Audience, *, author: str, now_ms: int) -> Audience:
    """The audience after its test was deleted."""
    return replace(audience, ab_test_id=0, version=audience.version + 1, update_time_ms=now_ms, updated_by=author)


def ended(test: AbTest, *, now_ms: int) -> AbTest:
    """The test as a deleted one; the same object when it is one."""
    return test if test.deleted else replace(test, version=test.version + 1, delete_time_ms=now_ms)
