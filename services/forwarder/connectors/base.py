"""What a connector is: the facts about one partner as data, and a few calls that each do one request.

A connector never waits, retries, logs or keeps anything: `delivery.py` does that for all of them alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from services.forwarder.connectors.http import PartnerHttp
from services.forwarder.domain.faults import CAUSES, Cause
from services.forwarder.domain.forms import FormFault
from services.forwarder.domain.identities import Identity, Kind, Presented
from services.forwarder.domain.reconcile import Change


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The form of a connection that has no settings of its own."""


@dataclass(frozen=True, slots=True)
class Spec:
    """The facts about a partner. `causes` says what its statuses mean, where it differs from the common table."""

    key: str
    name: str
    description: str
    accepts: frozenset[Kind]
    form: type
    # What happens there when a connection or an audience is deleted.
    on_delete: str
    connection_form: type = NoSettings
    # The most changes in one request; a form may ask for fewer.
    batch_max: int = 100
    causes: Mapping[int, Cause] = field(default_factory=lambda: CAUSES)


class Purpose(StrEnum):
    """Why the partner is called."""

    # A connection starts.
    SUBSCRIBE = "subscribe"
    CHANGES = "changes"
    # A connection ends.
    UNSUBSCRIBE = "unsubscribe"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, the same in every try but for `try_time_ms`. `subscription` is what the partner answered when the connection started."""

    request_id: str
    account_id: int
    audience_id: int
    # The external name, as it was when the request was made.
    audience_name: str
    subscription: Mapping[str, str]
    create_time_ms: int
    try_time_ms: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that the partner does not take, in its words. `kind` 0: no single identity is named."""

    mpid: int
    reason: str
    kind: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the partner said to a batch that it accepted: the records it refused, and why it wants no more, if so."""

    refusals: Sequence[Refusal] = ()
    suspended: str | None = None


Form = TypeVar("Form")


class Connector(ABC, Generic[Form]):
    """One partner. Each call raises PartnerError when the partner does not accept it."""

    spec: ClassVar[Spec]

    def check(self, form: Form, *, allow_private: bool) -> list[FormFault]:
        """The faults of a form that its lines alone do not show."""
        return []

    def batch_of(self, form: Form) -> int:
        """How many changes go into one request."""
        return self.spec.batch_max

    def rate_of(self, form: Form) -> float | None:
        """The most requests a second; None: no limit of ours."""
        return None

    @abstractmethod
    def kinds_of(self, form: Form) -> frozenset[Kind]:
        """The types of identities that this configuration takes."""

    @abstractmethod
    def present(self, identity: Identity, form: Form) -> Presented | None:
        """The identity as the partner is told it; None: not told at all."""

    @abstractmethod
    async def subscribe(self, request: Request, form: Form, http: PartnerHttp) -> Mapping[str, str]:
        """Tell that a connection starts; the settings that the partner wants back with every change."""

    @abstractmethod
    async def send(self, request: Request, changes: Sequence[Change], form: Form, http: PartnerHttp) -> Answer:
        """Tell the changes, at most `batch_of` of them."""

    @abstractmethod
    async def unsubscribe(self, request: Request, form: Form, http: PartnerHttp) -> None:
        """Tell that a connection ended."""

    @abstractmethod
    async def test(self, request: Request, form: Form, http: PartnerHttp) -> str:
        """Ask the partner something that changes nothing there; a sentence for the person who asked."""
