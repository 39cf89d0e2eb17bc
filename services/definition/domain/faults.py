"""Faults of a definition: what is wrong, where, and how to mend it. A fault is data; all of them are told at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Reason(StrEnum):
    """The stable names of faults: those of muster.definition.v1.ErrorReason, without its prefix."""

    NAME_EMPTY = "NAME_EMPTY"
    NAME_TOO_LONG = "NAME_TOO_LONG"
    TAG_TOO_LONG = "TAG_TOO_LONG"
    CONTROL_CHARACTER = "CONTROL_CHARACTER"
    EMPTY_GROUP = "EMPTY_GROUP"
    MISSING = "MISSING"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    UNKNOWN_VALUE = "UNKNOWN_VALUE"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    NOT_A_NUMBER = "NOT_A_NUMBER"
    NOT_A_DATE = "NOT_A_DATE"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    BOUNDS_REVERSED = "BOUNDS_REVERSED"
    WINDOW_PAST_LOOK_BACK = "WINDOW_PAST_LOOK_BACK"
    TOO_DEEP = "TOO_DEEP"
    TOO_LARGE = "TOO_LARGE"
    DUPLICATE_NODE_ID = "DUPLICATE_NODE_ID"
    UNKNOWN_WORKSPACE = "UNKNOWN_WORKSPACE"
    UNKNOWN_INPUT = "UNKNOWN_INPUT"
    UNKNOWN_AUDIENCE = "UNKNOWN_AUDIENCE"
    WORKSPACE_NEEDED = "WORKSPACE_NEEDED"
    CYCLE = "CYCLE"
    NOT_EVALUATED_YET = "NOT_EVALUATED_YET"
    AUDIENCE_NOT_ACTIVE = "AUDIENCE_NOT_ACTIVE"
    TOO_MANY = "TOO_MANY"
    OVER_100_PERCENT = "OVER_100_PERCENT"
    DUPLICATE_NAME = "DUPLICATE_NAME"
    IN_THE_PAST = "IN_THE_PAST"
    NOBODY_MEETS = "NOBODY_MEETS"
    EVERYONE_MEETS = "EVERYONE_MEETS"
    DATES_OUTLIVE_LOOK_BACK = "DATES_OUTLIVE_LOOK_BACK"
    UNKNOWN_NAME = "UNKNOWN_NAME"
    DEPRECATED_NAME = "DEPRECATED_NAME"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `field` is the path inside the audience, `definition.root.all.nodes[1].criterion.event.when.last`; `node_id` is empty
    outside of the tree and in a node that has none; `description` says what is wrong and the mend."""

    field: str
    node_id: str
    description: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: faults forbid to save, warnings do not."""

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(self.faults + other.faults, self.warnings + other.warnings)


FAULTS_MAX = 1_000


@dataclass(slots=True)
class Findings:
    """Where the visitors write what they find. Of more than 1,000 faults the last one says that there are more."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(fault)
        elif len(self.faults) == FAULTS_MAX:
            self.faults.append(Fault("definition", "", f"There are more than {FAULTS_MAX} faults; mend these first.", Reason.TOO_LARGE))

    def verdict(self) -> Verdict:
        return Verdict(tuple(self.faults), tuple(self.warnings))


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an audience, which knows its path, the node that it lies in, and where faults are written."""

    findings: Findings
    path: str = ""
    node_id: str = ""

    def at(self, name: str, index: int | None = None) -> Place:
        """The field of this name below this place; the index is that of an entry of a list."""
        path = f"{self.path}.{name}" if self.path else name
        return replace(self, path=path if index is None else f"{path}[{index}]")

    def of_node(self, node_id: str) -> Place:
        """The same place, as a part of the node of this id."""
        return replace(self, node_id=node_id)

    def fault(self, reason: Reason, description: str) -> None:
        self.findings.add(Fault(self.path, self.node_id, description, reason))

    def warn(self, reason: Reason, description: str) -> None:
        self.findings.warnings.append(Fault(self.path, self.node_id, description, reason))


def reasons(faults: Iterable[Fault]) -> list[str]:
    """The reasons alone, in the order of the faults."""
    return [fault.reason.value for fault in faults]
