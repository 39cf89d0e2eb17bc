"""A scenario that a machine found can be dropped into the folder: what is written reads as what it was."""

from dataclasses import replace
from typing import Any

import pytest

from tests.model import reference
from tests.scenarios.scenario import MAIN, Scenario, definition, read, scenarios
from tests.scenarios.ways import by_the_reference
from tests.scenarios.writing import smallest, written


@pytest.mark.parametrize("scenario", scenarios()[::7], ids=lambda scenario: scenario.name)
def test_a_written_scenario_reads_as_it_was(scenario: Scenario) -> None:
    again = read(scenario.name, written(scenario))
    assert again.audiences == scenario.audiences
    assert again.expected == scenario.expected
    assert (again.types, again.event_types) == (scenario.types, scenario.event_types)
    # Of one person; what is told of several at one instant is told person by person, and of each kind after kind.
    for person in scenario.people:
        assert sorted(map(repr, (one for one in again.told if one.person == person))) == sorted(
            map(repr, (one for one in scenario.told if one.person == person))
        )


def test_what_does_not_matter_is_taken_away() -> None:
    """With a way that forgets everybody, one member with the one fact that makes them one is all that stays."""
    scenario = next(one for one in scenarios() if one.name == "event-attribute-contains")
    left = smallest(scenario, lambda _: [set()], by_the_reference)
    assert left is not None
    assert len(left.people) == len(left.told) == 1
    assert left.expected == [(scenario.now, set(left.people))]
    assert smallest(scenario, by_the_reference, by_the_reference) is None
    assert smallest(replace(scenario, told=[]), by_the_reference, by_the_reference) is None


def test_a_way_that_breaks_down_fails_and_of_the_definition_too_only_what_matters_is_left() -> None:
    tree = {"all": {"nodes": [{"exclude": {"node": {"criterion": {"event": _EVENT}}}}, {"everyone": {}}]}}
    scenario = replace(
        next(one for one in scenarios() if one.name == "event-attribute-contains"),
        audiences={101: _audience({"everyone": {}}), MAIN: _audience(tree)},
    )

    def breaks_down(candidate: Scenario) -> list[set[str]]:
        if "frequency" in str(candidate.audience.definition):
            raise KeyError("frequency")
        return by_the_reference(candidate)

    left = smallest(scenario, breaks_down, by_the_reference)
    assert left is not None
    assert (left.people, left.told) == ([], [])
    without_filter = {name: part for name, part in _EVENT.items() if name != "when"}
    without_filter["match"] = {"type": "CUSTOM"}
    assert left.audiences == {MAIN: _audience({"criterion": {"event": without_filter}})}


_EVENT = {
    "match": {"type": "CUSTOM", "where": [{"attribute": "colour", "test": {"boolean": {"value": True}}}]},
    "frequency": {"comparison": "GREATER", "value": 2},
    "when": {"last": "7d"},
}


def _audience(tree: dict[str, Any]) -> reference.Audience:
    return reference.Audience(definition(tree), (1,))
