"""Results of A/B tests as messages: of the people of one evaluator, and of all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from muster.definition.v1 import definition_pb2
from muster.evaluator.v1 import evaluator_service_pb2 as pb

from services.chassis.errors import Invalid, NotFound
from services.evaluator import sums
from services.evaluator.ab_tests import CONTROL_ID, Interval, difference_of, named, rate_of
from services.evaluator.engine.compile import Malformed, Unsupported
from services.evaluator.engine.tree import Match, criteria_of, matches_of
from services.evaluator.population import Population


class AbTestNotFound(NotFound):
    """The audience has no A/B test, as far as the evaluator knows."""


def part(population: Population, audience_id: int, goal: definition_pb2.EventMatch | None) -> pb.AbTestResult:
    """What became of the variations among these people, without what is stored of adds and drops. Raises AbTestNotFound; Invalid for a
    goal that can't be counted."""
    test = population.ab_test(audience_id)
    if test is None:
        raise AbTestNotFound(f"The audience {audience_id} has no A/B test.", audience_id=audience_id)
    match = None if goal is None else _match(population, audience_id, goal)
    became = population.outcomes(test, match)
    sizes = {id_: size for id_, _, size in population.variations(audience_id)} if audience_id in population.audiences else {}
    result = pb.AbTestResult(
        audience_id=audience_id, ab_test_id=test.ab_test_id, start_ms=test.create_time_ms, goal_from_ms=population.goal_from(test)
    )
    for id_, name, percentage in named(test):
        participants, converted, goals = became[id_]
        result.variations.add(
            variation_id=id_,
            name=name,
            percentage=percentage,
            size=sizes.get(id_, 0),
            participants=participants,
            converted=converted,
            goals=goals,
        )
    return result


def with_history(result: pb.AbTestResult, day: Mapping[int, tuple[int, int]], whole: Mapping[int, tuple[int, int]]) -> pb.AbTestResult:
    """The same with adds and drops, by variation, of the last 24 hours and since the start."""
    for one in result.variations:
        one.adds, one.drops = day.get(one.variation_id, (0, 0))
        one.total_adds, one.total_drops = whole.get(one.variation_id, (0, 0))
    return result


def whole(parts: Sequence[pb.AbTestResult], *, counted: bool) -> pb.AbTestResult:
    """What all evaluators say, as one; with rates and differences if a goal was counted."""
    result = pb.AbTestResult()
    result.CopyFrom(parts[0])
    result.moment.CopyFrom(sums.moment([part.moment for part in parts]))
    for place, one in enumerate(result.variations):
        for name in ("size", "adds", "drops", "total_adds", "total_drops", "participants", "converted", "goals"):
            setattr(one, name, sum(getattr(part.variations[place], name) for part in parts))
    if counted:
        rates = {one.variation_id: rate_of(one.converted, one.participants) for one in result.variations}
        control = rates[CONTROL_ID]
        for one in result.variations:
            if (rate := rates[one.variation_id]) is not None:
                one.rate.CopyFrom(_proportion(rate))
                if one.variation_id != CONTROL_ID and control is not None:
                    one.difference.CopyFrom(_proportion(difference_of(rate, control)))
    return result


def are_of_one_test(parts: Sequence[pb.AbTestResult]) -> bool:
    """Whether all evaluators know the same test."""
    return len({(part.ab_test_id, len(part.variations)) for part in parts}) == 1


def _proportion(interval: Interval) -> pb.Proportion:
    return pb.Proportion(value=interval.value, low=interval.low, high=interval.high)


def _match(population: Population, audience_id: int, goal: definition_pb2.EventMatch) -> Match:
    """The goal for the engine, over the workspaces and inputs of the audience."""
    definition = definition_pb2.Definition()
    definition.root.criterion.event.match.CopyFrom(goal)
    try:
        compiled = population.compile_beside(definition, audience_id)
    except (Unsupported, Malformed) as fault:
        raise Invalid.of("goal", str(fault), "MALFORMED") from fault
    matches = [match for criterion in criteria_of(compiled.root) for match in matches_of(criterion)]
    if matches[0].moves:
        raise Invalid.of("goal.where", "A goal is counted as it was reached: give filters fixed dates.", "NOT_APPLICABLE")
    return matches[0]
