"""Every scenario file through the gRPC of the real services, in one world."""

from pathlib import Path

import pytest

from tests.fakes.event_stores import EventStores
from tests.scenarios.installation import play
from tests.scenarios.scenario import Scenario, scenarios

WAY = "grpc"


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory, event_stores: EventStores) -> dict[str, list[set[str]] | Exception]:
    """What came of each scenario."""
    folder: Path = tmp_path_factory.mktemp("scenarios")
    return play([scenario for scenario in scenarios() if WAY not in scenario.not_by], folder, event_stores.url(folder / "events"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_a_scenario_has_the_members_it_tells(scenario: Scenario, played: dict[str, list[set[str]] | Exception]) -> None:
    if WAY in scenario.not_by:
        pytest.skip(scenario.not_by[WAY])
    found = played[scenario.name]
    assert found == [members for _, members in scenario.expected], scenario.rule
