"""What becomes of an audience by itself: an activation and an end, each at an instant, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .faults import Fault, Findings, Place, Reason
from .lifecycle import Move


@dataclass(frozen=True, slots=True)
class Schedule:
    """When an audience is activated and deactivated; 0: not. `fault` says why the last of it was not done."""

    activate_time_ms: int = 0
    deactivate_time_ms: int = 0
    set_by: str = ""
    fault: str = ""

    @property
    def next_time_ms(self) -> int:
        """The instant of what comes first; 0: there is nothing."""
        return min((time for time in (self.activate_time_ms, self.deactivate_time_ms) if time), default=0)

    @property
    def next_move(self) -> Move:
        """What comes first; of both at one instant the activation."""
        first = self.activate_time_ms and self.activate_time_ms == self.next_time_ms
        return Move.ACTIVATE if first else Move.DEACTIVATE


NO_SCHEDULE = Schedule()


def judge_schedule(schedule: Schedule, now_ms: int) -> Sequence[Fault]:
    """All that is wrong with a schedule that is asked for; the paths begin inside it."""
    findings = Findings()
    place = Place(findings)
    for name in ("activate_time_ms", "deactivate_time_ms"):
        time = getattr(schedule, name)
        if time and time <= now_ms:
            place.at(name).fault(Reason.IN_THE_PAST, "The time is over; give one in the future, or 0 for none.")
    if schedule.activate_time_ms and schedule.deactivate_time_ms and schedule.deactivate_time_ms <= schedule.activate_time_ms:
        place.at("deactivate_time_ms").fault(Reason.BOUNDS_REVERSED, "It ends before it begins; give it a later end.")
    return findings.faults


def without(schedule: Schedule, move: Move) -> Schedule:
    """What is left of a schedule once a move was made, by itself or by a person."""
    match move:
        case Move.ACTIVATE:
            left = replace(schedule, activate_time_ms=0)
        case Move.DEACTIVATE:
            left = replace(schedule, deactivate_time_ms=0)
        case Move.DELETE:
            return NO_SCHEDULE
        case _:
            return schedule
    return left if left.next_time_ms or left.fault else NO_SCHEDULE


def failed(schedule: Schedule, move: Move, fault: str) -> Schedule:
    """The schedule after a move that could not be made; what could not be done before is told with it."""
    return replace(without(schedule, move), fault=f"{schedule.fault} {fault}".strip(), set_by=schedule.set_by)
