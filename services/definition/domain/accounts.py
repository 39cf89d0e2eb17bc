"""Accounts, their workspaces, and the inputs that data comes from (semantics: Words)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

from services.chassis.errors import FailedPrecondition, NotFound

from .audiences import Audience
from .faults import Fault, Findings, Place, Reason
from .identity_rules import IdentityRules
from .keys import InputKey
from .overrides import Overrides
from .periods import longest_window
from .texts import check_name, few

LOOK_BACK_DAYS = 30
LOOK_BACK_DAYS_MAX = 150
EVENTS_MAX = 10**12


class InputKind(IntEnum):
    """The numbers are those of muster.definition.v1.InputKind."""

    PLATFORM = 1
    FEED = 2


class InputState(IntEnum):
    """The numbers are those of muster.definition.v1.InputState."""

    ACTIVE = 1
    INACTIVE = 2


class AccountNotFound(NotFound):
    """The token speaks for an account that does not exist here, such as the operator's, which has no data."""


class UnknownWorkspace(NotFound):
    """There is no such workspace in the caller's account."""


class UnknownInput(NotFound):
    """There is no such input in the caller's account."""


class WindowPastLookBack(FailedPrecondition):
    """Active audiences look further back than the account shall."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A customer. `version` grows with each change; `account_id` is 0 until the database gave one."""

    account_id: int = 0
    version: int = 1
    name: str
    look_back_days: int
    create_time_ms: int
    identity_rules: IdentityRules | None = None  # the usual ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A part of an account."""

    workspace_id: int = 0
    account_id: int
    version: int = 1
    name: str
    create_time_ms: int
    attribute_overrides: Overrides = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Where data comes from. `platform` is a number of muster.definition.v1.Platform, 0 for feeds."""

    input_id: int = 0
    account_id: int
    workspace_id: int
    version: int = 1
    name: str
    kind: InputKind
    platform: int
    api_key: str
    api_secret_sha256: bytes
    state: InputState = InputState.ACTIVE
    create_time_ms: int
    allow_key_only: bool = False
    events_per_second: int = 0
    events_per_day: int = 0


def account_faults(name: str, look_back_days: int) -> tuple[Fault, ...]:
    """What is wrong with an account's name and look-back."""
    findings = Findings()
    check_name(name, Place(findings, "name"))
    if not 1 <= look_back_days <= LOOK_BACK_DAYS_MAX:
        Place(findings, "look_back_days").fault(
            Reason.OUT_OF_RANGE, f"A look-back of {look_back_days} days is not possible; give 1 to {LOOK_BACK_DAYS_MAX} days."
        )
    return findings.verdict().faults


def name_faults(name: str) -> tuple[Fault, ...]:
    """What is wrong with the name of a workspace, or of an input that is there."""
    findings = Findings()
    check_name(name, Place(findings, "name"))
    return findings.verdict().faults


def overridden(workspace: Workspace, overrides: Overrides) -> Workspace:
    """The workspace with these types of attributes. The same object when it has them already."""
    if overrides == workspace.attribute_overrides:
        return workspace
    return replace(workspace, attribute_overrides=overrides, version=workspace.version + 1)


def input_faults(name: str, kind: InputKind, platform: int) -> tuple[Fault, ...]:
    """What is wrong with a new input: a platform input names its platform, a feed has none."""
    findings = Findings()
    check_name(name, Place(findings, "name"))
    place = Place(findings, "platform")
    if kind is InputKind.PLATFORM and platform == 0:
        place.fault(Reason.MISSING, "The platform is missing; say which one the input is of.")
    if kind is InputKind.FEED and platform != 0:
        place.fault(Reason.NOT_APPLICABLE, "A feed has no platform; leave it out, or make it a platform input.")
    return findings.verdict().faults


def limit_faults(events_per_second: int, events_per_day: int) -> tuple[Fault, ...]:
    """What is wrong with how much an input may send; 0 stands for no limit."""
    findings = Findings()
    for field, limit in (("events_per_second", events_per_second), ("events_per_day", events_per_day)):
        if limit > EVENTS_MAX:
            Place(findings, field).fault(
                Reason.OUT_OF_RANGE, f"{limit} events are more than can be counted; give at most {EVENTS_MAX}, or 0 for no limit."
            )
    return findings.verdict().faults


def refuse_shorter_look_back(look_back_days: int, active: Iterable[Audience]) -> None:
    """Raises WindowPastLookBack when an active audience has a window that is longer than this look-back; it names these audiences."""
    past = [audience for audience in active if longest_window(audience.definition) > look_back_days * 86_400]
    if past:
        names = few([f"{audience.audience_id} ({audience.name})" for audience in past])
        raise WindowPastLookBack(
            f"Active audiences look back further than {look_back_days} days: {names}; shorten their windows or deactivate them first.",
            audience_ids=few([str(audience.audience_id) for audience in past]),
        )


def rotated(data_input: Input, key: InputKey) -> Input:
    """The input with another key; the one before it stops to work."""
    return replace(data_input, api_key=key.api_key, api_secret_sha256=key.api_secret_sha256, version=data_input.version + 1)


def deactivated(data_input: Input) -> Input:
    """The input, whose key is refused from now on. The same object when it already is inactive."""
    if data_input.state is InputState.INACTIVE:
        return data_input
    return replace(data_input, state=InputState.INACTIVE, version=data_input.version + 1)
