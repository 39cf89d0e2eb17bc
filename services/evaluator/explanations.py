"""What the engine found of one person, as the contract tells it: figures, and sentences that a marketer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_pb2 as definition_pb
from muster.evaluator.v1 import evaluator_service_pb2 as pb

from services.evaluator.engine.explain import Explanation, Miss, Turn, Verdict
from services.evaluator.engine.explaining.findings import Active, Counted, Finding, Followed, Held, Inner
from services.evaluator.words import (
    asked_of,
    bound_of,
    deep_nodes_of,
    duration_words,
    events_words,
    held_value,
    held_words,
    instant_words,
    more_words,
    nodes_of,
    period_of,
    step_words,
    subject_of,
)

_UNHEARD = "nothing was ever heard of them in the audience's workspaces"


@dataclass(frozen=True)
class Teller:
    """`audiences`: those that are evaluated, by id."""

    audiences: Mapping[int, audience_pb2.Audience]
    look_back_days: int
    now_ms: int

    def response(self, audience: audience_pb2.Audience, explanation: Explanation, moment: pb.Moment) -> pb.ExplainMembershipResponse:
        """Each node with its verdict, and the whole in a few sentences."""
        nodes = deep_nodes_of(audience.definition.root)
        return pb.ExplainMembershipResponse(
            member=explanation.member,
            since_ms=explanation.since_ms or 0,
            next_change_ms=explanation.next_change_ms or 0,
            nodes=[self._node(node, depth, explanation.nodes[node.id]) for node, depth in nodes if node.id in explanation.nodes],
            summary=self.summary(audience, explanation),
            moment=moment,
            near_misses=self._near_misses(audience, explanation),
            known_from_ms=explanation.known_from_ms or 0,
            known_until_ms=explanation.known_until_ms or 0,
        )

    def summary(self, audience: audience_pb2.Audience, explanation: Explanation) -> str:
        """`Not in the audience: 3 sessions in the last 30 days, and it must be fewer than 3. Enters on ... by time alone, when ...`."""
        criteria = _criteria_of(audience)
        words = "In the audience" if explanation.member else "Not in the audience"
        if explanation.since_ms is not None:
            words += f" since {instant_words(explanation.since_ms)}"
        if not explanation.member:
            reasons = [self._reason(criteria.get(miss.node_id), miss.finding, wanted=miss.wanted) for miss in explanation.misses]
            words += f": {'; '.join(reasons) or 'no criterion can be otherwise'}"
        words += "."
        if explanation.next_change_ms is not None:
            verb = "Leaves" if explanation.member else "Enters"
            cause = self._cause(criteria, explanation.turn, explanation.next_change_ms)
            words += f" {verb} on {instant_words(explanation.next_change_ms)} by time alone{f', when {cause}' if cause else ''}."
        elif explanation.known_until_ms is not None:
            words += f" Of so many events, what time alone changes was looked at until {instant_words(explanation.known_until_ms)}."
        return words

    # --- nodes and near misses

    def _node(self, node: definition_pb.Node, depth: int, verdict: Verdict) -> pb.NodeVerdict:
        told = pb.NodeVerdict(
            node_id=node.id,
            holds=verdict.holds,
            since_ms=verdict.since_ms or 0,
            next_change_ms=verdict.next_change_ms or 0,
            depth=depth,
        )
        match node.WhichOneof("kind"):
            case "criterion":
                told.subject, told.bound = subject_of(node.criterion), bound_of(node.criterion, self.look_back_days)
                told.value = _found(node.criterion, verdict.finding)
                if isinstance(verdict.finding, Inner):
                    told.inner.CopyFrom(self._inner(verdict.finding))
            case "everyone":
                told.bound = "everyone"
            case "exclude":
                told.bound = "it is not so"
            case kind:
                told.bound = "every part holds" if kind == "all" else "some part holds"
        return told

    def _near_misses(self, audience: audience_pb2.Audience, explanation: Explanation) -> list[pb.NearMiss]:
        criteria = _criteria_of(audience)
        return [
            pb.NearMiss(node_id=miss.node_id, missing=self._missing(criteria.get(miss.node_id), miss), turns_ms=miss.turns_ms or 0)
            for miss in explanation.misses
        ]

    def _inner(self, finding: Inner) -> pb.InnerMembership:
        told = pb.InnerMembership(audience_id=finding.audience, active=finding.active)
        audience, explanation = self.audiences.get(finding.audience), finding.explanation
        if audience is not None and explanation is not None:
            told.member = explanation.member
            told.since_ms, told.next_change_ms = explanation.since_ms or 0, explanation.next_change_ms or 0
            told.summary = self.summary(audience, explanation)
            told.near_misses.extend(self._near_misses(audience, explanation))
        return told

    def _missing(self, criterion: definition_pb.Criterion | None, miss: Miss) -> str:
        """What would have to happen: `1 more purchase by 2026-12-03 13:00 UTC`, `19.90 more of the lifetime value`; where that is no
        number, why it is not so."""
        finding = miss.finding
        if criterion is not None and isinstance(finding, Held) and (more := more_words(criterion, finding.value, wanted=miss.wanted)):
            return more
        if criterion is None or not isinstance(finding, Counted):
            return self._reason(criterion, finding, wanted=miss.wanted)
        ways, match = [], _counted(criterion).match
        if finding.more is not None:
            until = "" if finding.until_ms is None else f" by {instant_words(finding.until_ms)}"
            over = finding.until_ms is not None and finding.until_ms < self.now_ms
            ways.append(f"{finding.more} more {events_words(match, finding.more)}{', but the period is over' if over else until}")
        if finding.fewer is not None:
            which = "the oldest leaves" if finding.fewer == 1 else f"the oldest {finding.fewer} have left"
            gone = "" if finding.gone_ms is None else f"; {which} the window on {instant_words(finding.gone_ms)}"
            ways.append(f"{finding.fewer} {events_words(match, finding.fewer)} too many{gone}")
        return ", or ".join(ways)

    # --- sentences, kind by kind

    def _reason(self, criterion: definition_pb.Criterion | None, finding: Finding, *, wanted: bool) -> str:
        """What is, and what would have to be."""
        if criterion is None or isinstance(finding, Active):
            return _UNHEARD
        match finding:
            case Counted(number):
                return self._count(criterion, number, wanted=wanted)
            case Followed():
                return self._sequence(criterion.sequence, finding)
            case Inner():
                return self._membership(finding, wanted=wanted)
            case Held(value) if criterion.HasField("event"):  # a filter of them moves with time
                return self._count(criterion, value if isinstance(value, int) else 0, wanted=wanted)
            case Held(value):
                period = f" {period_of(criterion.aggregate, self.look_back_days)}" if criterion.HasField("aggregate") else ""
                return f"{subject_of(criterion)}{period} {held_words(criterion, value)}, and it must {asked_of(criterion, wanted=wanted)}"

    def _count(self, criterion: definition_pb.Criterion, number: int, *, wanted: bool) -> str:
        counted = _counted(criterion)
        events = f"{number or 'no'} {events_words(counted.match, number)} {period_of(counted, self.look_back_days)}"
        return f"{events}, and it must {asked_of(criterion, wanted=wanted)}"

    def _sequence(self, sequence: definition_pb.SequenceCriterion, finding: Followed) -> str:
        if finding.reached_ms is None:
            step = f", the first of {finding.of} steps" if finding.of > 1 else ""
            return f"no {events_words(sequence.steps[0].match)} {period_of(sequence, self.look_back_days)}{step}"
        last = f"the {events_words(sequence.steps[finding.steps - 1].match, 1)} of {instant_words(finding.reached_ms)}"
        if finding.steps < finding.of:
            return f"no {step_words(sequence.steps[finding.steps])} after {last}, which is step {finding.steps + 1} of {finding.of}"
        after = sequence.not_followed_by
        if finding.followed_ms is not None:
            return f"the {events_words(after.match, 1)} of {instant_words(finding.followed_ms)} followed {last}, and none must"
        if finding.due_ms is not None:
            return f"it is open until {instant_words(finding.due_ms)} whether {events_words(after.match)} follow {last}"
        return f"the sequence is complete with {last}, and it must not be"

    def _membership(self, finding: Inner, *, wanted: bool) -> str:
        audience = self.audiences.get(finding.audience)
        name = f"audience {finding.audience}" + (f" ({audience.name})" if audience is not None else "")
        if not finding.active:
            return f"{name} is not active, so nobody is in it"
        if not wanted:
            return f"they are in {name}, and must not be"
        if audience is None or finding.explanation is None:
            return f"they are not in {name}, and must be"
        criteria = _criteria_of(audience)
        reasons = [self._reason(criteria.get(miss.node_id), miss.finding, wanted=miss.wanted) for miss in finding.explanation.misses]
        return f"they are not in {name}, and must be ({'; '.join(reasons) or 'nobody can be'})"

    def _cause(self, criteria: Mapping[str, definition_pb.Criterion], turn: Turn | None, at: int) -> str:
        """What the next change waits for; empty where it has no name."""
        criterion = None if turn is None else criteria.get(turn.node_id)
        if turn is None or criterion is None:
            return ""
        cause, kind = turn.cause, criterion.WhichOneof("kind")
        if kind == "member_of":
            return f"membership of audience {criterion.member_of.audience_id} changes"
        if cause is None:
            return ""
        instant = instant_words(cause.time_ms)
        if kind == "sequence":
            sequence = criterion.sequence
            if cause.enters is None:
                over, after = duration_words(sequence.not_followed_by.within), events_words(sequence.not_followed_by.match)
                last = events_words(sequence.steps[-1].match, 1)
                return f"{over} have passed since the {last} of {instant} without {after}"
            step = sequence.not_followed_by if cause.step is None else sequence.steps[cause.step]
            what = f"the {events_words(step.match, 1)} of {instant}"
        elif kind in ("event", "aggregate"):
            what = f"the {events_words(_counted(criterion).match, 1)} of {instant}"
        else:
            what = f"{subject_of(criterion)}, {instant},"
        if not cause.enters:
            return f"{what} leaves the window"
        return f"{what} comes" if cause.time_ms == at else f"{what} comes into the window"


def _found(criterion: definition_pb.Criterion, finding: Finding | None) -> str:
    match finding:
        case Counted(number):
            return str(number)
        case Followed(steps, of):
            return f"{steps} of {of} steps"
        case Held(value):
            return held_value(criterion, value)
        case Inner(_, active, explanation):
            return ("member" if explanation.member else "not a member") if explanation is not None else "" if active else "not active"
        case _:
            return ""


def _counted(criterion: definition_pb.Criterion) -> definition_pb.EventCriterion | definition_pb.AggregateCriterion:
    """The kind of criterion that counts events."""
    return criterion.aggregate if criterion.HasField("aggregate") else criterion.event


def _criteria_of(audience: audience_pb2.Audience) -> dict[str, definition_pb.Criterion]:
    return {node.id: node.criterion for node in nodes_of(audience.definition.root) if node.id and node.HasField("criterion")}
