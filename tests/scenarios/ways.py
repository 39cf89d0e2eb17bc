"""The ways of working a scenario out in this process: each answers who is in at each of its instants."""

from collections.abc import Sequence

from services.evaluator.engine import Compiled, Engine, compile_definition
from services.evaluator.engine.compiling.overrides import types_of
from tests.evaluator.engine.telling import Teller
from tests.model import facts, reference
from tests.scenarios.scenario import MAIN, Scenario, Told


def by_the_reference(scenario: Scenario) -> list[set[str]]:
    found = []
    for now, _ in scenario.expected:
        people: facts.People[str] = facts.People(scenario.workspaces)
        for told in scenario.told:
            if told.arrives <= now:
                people.tell(told.person, told.fact)
        found.append(
            reference.members(
                scenario.audience.definition,
                people.known,
                now,
                workspaces=scenario.workspaces,
                workspace_ids=scenario.audience.workspace_ids,
                input_ids=scenario.audience.input_ids,
                look_back_ms=scenario.look_back_ms,
                active=scenario.audiences,
                types=scenario.types,
                event_types=scenario.event_types,
            )
        )
    return found


def by_the_engine_loaded_first(scenario: Scenario) -> list[set[str]]:
    """What is known at the first instant is loaded, then the audience is activated; what comes later comes in rounds."""
    world = World(scenario)
    world.load([told for told in scenario.told if told.arrives <= scenario.now])
    world.activate()
    return world.rounds([told for told in scenario.told if told.arrives > scenario.now])


def by_the_engine_in_rounds(scenario: Scenario) -> list[set[str]]:
    """The audience is active before anything is known."""
    world = World(scenario)
    world.activate()
    return world.rounds(scenario.told)


def by_explanations(scenario: Scenario) -> list[set[str]]:
    """Who is explained to be in, of all who still go by their name; the audience is active before anything is known."""
    world = World(scenario)
    world.activate()
    return world.rounds(scenario.told, explained=True)


class World:
    """An engine, and the people of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.engine = Engine(look_back_ms=scenario.look_back_ms, now_ms=scenario.now)
        self.teller = Teller(scenario.workspaces)

    def activate(self) -> None:
        for audience_id, audience in self.scenario.audiences.items():
            compiled = self.compiled(audience)
            self.teller.fill([self.engine], compiled)
            self.engine.activate(audience_id, compiled)

    def compiled(self, audience: reference.Audience) -> Compiled:
        return compile_definition(
            audience.definition,
            workspaces=self.scenario.workspaces,
            workspace_ids=audience.workspace_ids,
            input_ids=audience.input_ids,
            look_back_ms=self.scenario.look_back_ms,
            types={workspace: types_of(self.scenario.overrides(workspace)) for workspace in self.scenario.workspaces},
        )

    def load(self, arrived: Sequence[Told]) -> None:
        self.teller.load([self.engine], [(told.person, told.fact) for told in arrived])

    def rounds(self, to_come: Sequence[Told], *, explained: bool = False) -> list[set[str]]:
        found = []
        for now, _ in self.scenario.expected:
            arrived = [(told.person, told.fact) for told in to_come if told.arrives <= now]
            to_come = [told for told in to_come if told.arrives > now]
            self.teller.round([self.engine], now, arrived)
            found.append(self.explained() if explained else self.teller.names(self.engine.members(MAIN).tolist()))
        return found

    def explained(self) -> set[str]:
        compiled = self.compiled(self.scenario.audience)
        known = {person: self.teller.known(person) for person in self.scenario.people}
        return {person for person, own in known.items() if own is not None and self.engine.explain(compiled, own).member}
