"""Every scenario file on everything that evaluates."""

from collections.abc import Callable

import pytest

from tests.scenarios.scenario import Scenario, scenarios
from tests.scenarios.ways import by_the_engine_in_rounds, by_the_engine_loaded_first, by_the_reference


@pytest.mark.parametrize("way", [by_the_reference, by_the_engine_loaded_first, by_the_engine_in_rounds])
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_a_scenario_has_the_members_it_tells(scenario: Scenario, way: Callable[[Scenario], list[set[str]]]) -> None:
    assert way(scenario) == [members for _, members in scenario.expected], scenario.rule
