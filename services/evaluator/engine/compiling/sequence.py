"""Criteria on events in an order."""

from muster.definition.v1 import definition_pb2 as pb

from .. import tree
from .common import NEVER, Refusal, Scope, duration
from .event import match_of, window_of_events

STEPS_MAX = 50


def compile_sequence(sequence: pb.SequenceCriterion, scope: Scope) -> tree.Leaf | tree.Group:
    if not sequence.steps:
        raise Refusal("a sequence without steps")
    if len(sequence.steps) > STEPS_MAX:
        raise Refusal(f"a sequence of {len(sequence.steps)} steps: keep {STEPS_MAX} or fewer")
    steps = tuple(_step(step, scope, first=not i) for i, step in enumerate(sequence.steps))
    after = None
    if sequence.HasField("not_followed_by"):
        within = duration(sequence.not_followed_by.within) if sequence.not_followed_by.HasField("within") else None
        after = tree.Step(_match(sequence.not_followed_by.match, scope), within)
        if within is not None and within > scope.look_back:  # when that time is over, the last step is no longer seen
            return NEVER
    return tree.Leaf(tree.SequenceTest(steps, after, window_of_events(sequence, scope)))


def _step(step: pb.SequenceStep, scope: Scope, *, first: bool) -> tree.Step:
    within = None if first or not step.HasField("within") else duration(step.within)
    # Two events of one look-back are never further apart than it is long.
    return tree.Step(_match(step.match, scope), None if within is None or within >= scope.look_back else within)


def _match(match: pb.EventMatch, scope: Scope) -> tree.Match:
    found = match_of(match, scope)
    if found.moves:
        raise Refusal("a filter of a sequence with a date relative to now", unsupported=True)
    return found
