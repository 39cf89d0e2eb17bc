"""A scenario that a machine found can be dropped into the folder: what is written reads as what it was."""

from dataclasses import replace

import pytest

from tests.scenarios.scenario import Scenario, read, scenarios
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
