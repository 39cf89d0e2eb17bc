"""Criteria as tests of things: two of one key speak of one and the same thing of a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from google.protobuf.message import Message
from muster.definition.v1 import definition_pb2 as pb

from ..canonical import canonical
from ..periods import Reach
from .points import Domain, Test, passes_missing, truths
from .times import is_past, longest_ago

Key = tuple[object, ...]
_HAPPENED = pb.FrequencyTest(comparison=pb.COMPARISON_GREATER)


@dataclass(frozen=True, slots=True)
class Literal:
    """A criterion, or with `holds` False its opposite. `always`: it is so for everybody, whatever the test says; None: the test decides."""

    key: Key
    domain: Domain
    test: Test
    holds: bool = True
    always: bool | None = None

    @property
    def negated(self) -> Literal:
        return Literal(self.key, self.domain, self.test, not self.holds, None if self.always is None else not self.always)


def contradict(literals: Sequence[Literal]) -> bool:
    """Whether nobody can have all of these, which are of one key."""
    found = _truths(literals)
    return bool(found) and all(any(truth is False for truth in at_point) for at_point in found)


def exhaust(literals: Sequence[Literal]) -> bool:
    """Whether everybody has one of these, which are of one key."""
    found = _truths(literals)
    return bool(found) and all(any(truth is True for truth in at_point) for at_point in found)


def _truths(literals: Sequence[Literal]) -> list[list[bool | None]]:
    if any(one.always is not None for one in literals):
        return [[one.always for one in literals]]
    found = truths(literals[0].domain, [one.test for one in literals])
    return [[None if truth is None else truth == one.holds for truth, one in zip(at_point, literals, strict=True)] for at_point in found]


def by_key(literals: Iterable[tuple[Literal, str]]) -> list[list[tuple[Literal, str]]]:
    """Those of one key together."""
    ordered = sorted(literals, key=lambda one: repr(one[0].key))
    return [list(group) for _, group in groupby(ordered, key=lambda one: one[0].key)]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the criteria of one audience. `workspace_id`: whose data those of people read that name no workspace."""

    reach: Reach
    workspace_id: int

    def literal(self, criterion: pb.Criterion) -> Literal:
        """What it says. The definition is one without faults."""
        return CRITERIA[criterion.WhichOneof("kind") or ""](self, criterion)

    def of_event(self, criterion: pb.Criterion) -> Literal:
        event = criterion.event
        test = event.frequency if event.HasField("frequency") else _HAPPENED
        return self._counted(("count", *_counted_key(event)), Domain.COUNT, test, 0, event)

    def of_aggregate(self, criterion: pb.Criterion) -> Literal:
        aggregate = criterion.aggregate
        function, subject = aggregate.function, aggregate.WhichOneof("subject")
        of = () if subject is None else (function, subject, getattr(aggregate, subject))
        key = ("count", *of, *_counted_key(aggregate))
        if function in (pb.AGGREGATE_FUNCTION_COUNT, pb.AGGREGATE_FUNCTION_DISTINCT_COUNT):
            return self._counted(key, Domain.COUNT, aggregate.test, 0, aggregate)
        if function == pb.AGGREGATE_FUNCTION_SUM:
            return self._counted(key, Domain.NUMBER, aggregate.test, 0, aggregate)
        return self._counted(key, Domain.EVENT_VALUE, aggregate.test, None, aggregate)

    def of_sequence(self, criterion: pb.Criterion) -> Literal:
        return Literal(_whole(criterion), Domain.ATOM, True, always=False if self._never_follows(criterion.sequence) else None)

    def of_attribute(self, criterion: pb.Criterion) -> Literal:
        attribute = criterion.user_attribute
        return Literal((*self._person("attribute", criterion), attribute.attribute), Domain.USER_VALUE, attribute.test)

    def of_device(self, criterion: pb.Criterion) -> Literal:
        return Literal((*self._person("device", criterion), criterion.device.field), Domain.USER_VALUE, criterion.device.test)

    def of_attribution(self, criterion: pb.Criterion) -> Literal:
        told = criterion.attribution
        return Literal((*self._person("attribution", criterion), told.field), Domain.USER_VALUE, told.test)

    def of_seen(self, criterion: pb.Criterion) -> Literal:
        return Literal((*self._person("seen", criterion), criterion.seen.edge), Domain.TIME, criterion.seen.when)

    def of_location(self, criterion: pb.Criterion) -> Literal:
        """Somebody is in one place of a kind."""
        if not criterion.location.HasField("place"):
            return self.of_any(criterion)
        place = criterion.location.place
        test = pb.ValueTest(string=pb.StringTest(operator=pb.STRING_OPERATOR_EQUALS, value=place.value))
        return Literal((*self._person("place", criterion), place.field), Domain.EVENT_VALUE, test)

    def of_consent(self, criterion: pb.Criterion) -> Literal:
        consent = criterion.consent
        of = (consent.regulation.casefold(), consent.purpose.casefold())
        test = pb.ValueTest(boolean=pb.BooleanTest(value=consent.consented))
        return Literal((*self._person("consent", criterion), *of), Domain.EVENT_VALUE, test)

    def of_lifetime_value(self, criterion: pb.Criterion) -> Literal:
        return Literal(self._person("lifetime value", criterion), Domain.NUMBER, criterion.lifetime_value.test)

    def of_any(self, criterion: pb.Criterion) -> Literal:
        """One of which is known only that it holds or does not, as of identities, which somebody has several of."""
        return Literal((self.workspace_id, *_whole(criterion)), Domain.ATOM, True)

    def _person(self, what: str, criterion: pb.Criterion) -> Key:
        return (what, criterion.workspace_id or self.workspace_id)

    def _counted(
        self, key: Key, domain: Domain, test: Test, of_nothing: int | None, of: pb.EventCriterion | pb.AggregateCriterion
    ) -> Literal:
        """Where no event can be counted, the test is put to what nothing counts as: `of_nothing`, or no value at all."""
        if (of.HasField("when") and is_past(of.when, self.reach)) or never_matches(of.match):
            return Literal(key, domain, test, always=_passes_nothing(test, of_nothing))
        return Literal(key, domain, test)

    def _never_follows(self, sequence: pb.SequenceCriterion) -> bool:
        if any(never_matches(step.match) for step in sequence.steps):
            return True
        if not sequence.HasField("when"):
            return False
        if is_past(sequence.when, self.reach):
            return True
        longest = longest_ago(sequence.when)
        if longest is None or not sequence.not_followed_by.HasField("within"):
            return False
        # Once it is over that nothing followed, the step has left the window.
        waited = longest_ago(pb.Period(last=sequence.not_followed_by.within))
        return waited is not None and waited > longest


def never_matches(match: pb.EventMatch) -> bool:
    """Whether no event passes all the filters: one value would have to pass tests that exclude each other."""
    own = [one for one in match.where if one.WhichOneof("subject") is not None]
    literals = [
        (Literal((one.WhichOneof("subject"), getattr(one, one.WhichOneof("subject") or "")), Domain.EVENT_VALUE, one.test), "")
        for one in own
    ]
    return any(contradict([literal for literal, _ in group]) for group in by_key(literals))


def _passes_nothing(test: Test, of_nothing: int | None) -> bool | None:
    """Whether what nothing counts as passes; None: not looked into, as of a list, which is empty then."""
    if isinstance(test, pb.ValueTest) and of_nothing is None:
        return None if test.HasField("list") or test.HasField("presence") else passes_missing(test, of_user=False)
    return truths(Domain.COUNT, [test])[0][0]  # the first point is 0


def _counted_key(of: pb.EventCriterion | pb.AggregateCriterion) -> Key:
    """Which events are counted, and when."""
    counted = pb.EventCriterion(match=of.match)
    if of.HasField("when"):
        counted.when.CopyFrom(of.when)
    return _whole(pb.Criterion(event=counted))


def _whole(criterion: pb.Criterion) -> Key:
    return (_bytes(canonical(pb.Definition(root=pb.Node(criterion=criterion)))),)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


CRITERIA: Mapping[str, Callable[[Reader, pb.Criterion], Literal]] = {
    "event": Reader.of_event,
    "aggregate": Reader.of_aggregate,
    "sequence": Reader.of_sequence,
    "user_attribute": Reader.of_attribute,
    "identity": Reader.of_any,
    "device": Reader.of_device,
    "seen": Reader.of_seen,
    "location": Reader.of_location,
    "consent": Reader.of_consent,
    "lifetime_value": Reader.of_lifetime_value,
    "attribution": Reader.of_attribution,
    "member_of": Reader.of_any,
}
