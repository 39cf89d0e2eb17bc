"""Who uses an audience, and what ends with it (semantics: Nested audiences)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.chassis.errors import Conflict, FailedPrecondition, Invalid

from .ab_tests import AbTest
from .audiences import Audience
from .faults import Reason
from .lifecycle import State
from .texts import few

# Of muster.forwarder.v1.ConnectionState.
CONNECTION_FAULTED = 3
CONNECTION_DELETED = 4
# Of muster.sharing.v1.ShareState: offered, and accepted.
SHARES_LIVE = (1, 2)


class AudienceInUse(FailedPrecondition):
    """Something uses the audience; the message and the metadata name what."""


class UsesChanged(Conflict):
    """What uses the audience is not what the caller was shown."""


class DigestMissing(Invalid):
    """Whoever lets a deletion cascade must have seen what goes."""

    reason = Reason.MISSING.value


@dataclass(frozen=True, slots=True)
class User:
    """An audience that reads the members of another."""

    audience_id: int
    name: str
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionUse:
    """A connection of an audience, as the forwarder told it last. `state` is of muster.forwarder.v1.ConnectionState; `variation` is empty
    for the whole audience, `fault` unless it is faulted."""

    connection_id: int
    audience_id: int
    variation: str
    configuration_id: int
    configuration_name: str
    integration_key: str
    state: int
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareUse:
    """An offer of an audience to another account, as the sharing service told it last. `state` is of muster.sharing.v1.ShareState."""

    share_id: int
    audience_id: int
    receiver_name: str
    state: int


@dataclass(frozen=True, slots=True)
class Uses:
    """All that uses an audience."""

    audiences: Sequence[User] = ()
    tests: Sequence[AbTest] = ()
    connections: Sequence[ConnectionUse] = ()
    shares: Sequence[ShareUse] = ()

    @property
    def any(self) -> bool:
        return bool(self.audiences or self.tests or self.connections or self.shares)

    @property
    def digest(self) -> str:
        """Tells which things these are, whatever has become of them since."""
        ids = [
            sorted(one.audience_id for one in self.audiences),
            sorted(one.ab_test_id for one in self.tests),
            sorted(one.connection_id for one in self.connections),
            sorted(one.share_id for one in self.shares),
        ]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]


def outermost_first(audience_id: int, uses: Mapping[int, Collection[int]]) -> list[int]:
    """The audiences that read the members of this one, through whomever, each before those that it reads. `uses`: whom each reads."""
    users: dict[int, set[int]] = {}
    for user, read in uses.items():
        for one in read:
            users.setdefault(one, set()).add(user)
    order: list[int] = []
    done: set[int] = set()
    # Not by recursion: audiences may be in each other a thousand levels deep.
    path: list[tuple[int, Iterable[int]]] = [(audience_id, iter(sorted(users.get(audience_id, ()))))]
    while path:
        current, rest = path[-1]
        following = next((one for one in rest if one not in done), None)
        if following is not None:
            path.append((following, iter(sorted(users.get(following, ())))))
            continue
        path.pop()
        if current not in done:
            done.add(current)
            order.append(current)
    return order[:-1]


def refuse_use(audience: Audience, uses: Uses) -> None:
    """Raises AudienceInUse, which names what uses the audience, if there is anything."""
    if not uses.any:
        return
    parts = []
    if uses.audiences:
        parts.append("the audiences " + few([f"{one.audience_id} ({one.name})" for one in uses.audiences]))
    if uses.tests:
        parts.append("the A/B test " + few([f"{one.ab_test_id} ({one.name})" for one in uses.tests]))
    if uses.connections:
        parts.append("the connections " + few([f"{one.connection_id} ({one.configuration_name})" for one in uses.connections]))
    if uses.shares:
        parts.append("the shares " + few([f"{one.share_id} ({one.receiver_name})" for one in uses.shares]))
    raise AudienceInUse(
        f"The audience {audience.audience_id} is used by {' and '.join(parts)}; end these first, or let them end with it.",
        audience_id=audience.audience_id,
        users=len(uses.audiences),
        user_ids=few([str(one.audience_id) for one in uses.audiences]),
        user_names=few([one.name for one in uses.audiences]),
        ab_test_ids=few([str(one.ab_test_id) for one in uses.tests]),
        connection_ids=few([str(one.connection_id) for one in uses.connections]),
        share_ids=few([str(one.share_id) for one in uses.shares]),
    )


def check_digest(given: str, uses: Uses) -> None:
    """Raises DigestMissing, or UsesChanged unless these are the uses that the caller was shown."""
    if not given:
        raise DigestMissing.of(
            "uses_digest", "The digest is missing; list the uses with `cascade`, and give the digest of that list.", DigestMissing.reason
        )
    if given != uses.digest:
        raise UsesChanged("What uses the audience has changed since it was shown; list the uses again.", digest=uses.digest)
