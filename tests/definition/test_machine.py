"""The lifecycle as a state machine: whatever is asked in whatever order, audiences are what a plain model says, and what is refused changes
nothing. Without NATS: the way in is called as gRPC calls it, on a database of its own.

semantics: Words, Activation and editing, Nested audiences, A/B tests, Bulk connections, tags, clone.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_pb2 as d
from muster.definition.v1 import definition_service_pb2 as pb

from services.chassis import auth
from services.chassis.audit import Audit, Verifier
from services.chassis.bus import Bus
from services.chassis.client import Tokens
from services.chassis.database import Database
from services.chassis.errors import MusterError
from services.chassis.migrations import migrate
from services.chassis.outbox import Outbox, Relay
from services.definition import tables
from services.definition.api.ab_tests import AbTestApi
from services.definition.api.accounts import AccountApi
from services.definition.api.audiences import AudienceApi
from services.definition.app import MIGRATIONS
from services.definition.figures import FiguresOf
from services.definition.schedules import Schedules
from services.definition.store import Store
from tests.definition.builders import definition, everyone, member_of
from tests.fakes.clock import ManualClock

NAMES = ("a", "b", "c", "d", "e")
MINUTE = 60_000
STATES = {
    "draft": audience_pb2.AUDIENCE_STATE_DRAFT,
    "active": audience_pb2.AUDIENCE_STATE_ACTIVE,
    "inactive": audience_pb2.AUDIENCE_STATE_INACTIVE,
    "deleted": audience_pb2.AUDIENCE_STATE_DELETED,
}


@dataclass(frozen=True)
class Step:
    """Something is asked of an audience, by its place among those that there are; `other` is another one, `name` a new name."""

    what: str
    which: int
    other: int = 0
    name: str = ""
    minutes: int = 0


@dataclass(frozen=True)
class Modelled:
    """What an audience should be. `reads`: the audience that its definition reads, by place; None: everyone."""

    name: str
    state: str = "draft"
    archived: bool = False
    reads: int | None = None
    tested: bool = False
    revision: int = 1
    activate: int = 0
    deactivate: int = 0


@dataclass
class Model:
    """All of them, and the time."""

    audiences: list[Modelled] = field(default_factory=list)
    now: int = 0

    def taken(self, name: str, but: int = -1) -> bool:
        return any(one.name == name and one.state != "deleted" for place, one in enumerate(self.audiences) if place != but)

    def reach(self, start: int) -> set[int]:
        """All that this one reads, through whomever."""
        found, place = set[int](), self.audiences[start].reads
        while place is not None and place not in found:
            found.add(place)
            place = self.audiences[place].reads
        return found

    def users(self, place: int) -> list[int]:
        return [user for user, one in enumerate(self.audiences) if one.reads == place and one.state != "deleted"]

    def faulty(self, one: Modelled) -> bool:
        """Whether its definition reads what is gone."""
        return one.reads is not None and self.audiences[one.reads].state == "deleted"

    def set(self, place: int, **changes: Any) -> None:
        self.audiences[place] = replace(self.audiences[place], **changes)

    def step(self, step: Step) -> str:
        """Do it; why it is refused, or nothing."""
        if step.what == "create":
            if self.taken(step.name):
                return "INVALID_AUDIENCE"
            self.audiences.append(Modelled(step.name))
            return ""
        place = step.which
        one = self.audiences[place]
        if step.what == "delete":
            if one.state != "deleted" and (self.users(place) or one.tested):
                return "AUDIENCE_IN_USE"
            self.set(place, state="deleted", activate=0, deactivate=0)
            return ""
        if step.what == "untest" and one.state == "deleted":
            return "AB_TEST_NOT_FOUND"
        if one.state == "deleted":
            return "AUDIENCE_DELETED"
        refused = getattr(self, f"_{step.what}")(place, one, step)
        return refused or ""

    def _rename(self, place: int, one: Modelled, step: Step) -> str | None:
        if one.archived:
            return "AUDIENCE_ARCHIVED"
        if self.taken(step.name, place):
            return "INVALID_AUDIENCE"
        self.set(place, name=step.name)
        return None

    def _read(self, place: int, one: Modelled, step: Step) -> str | None:
        """Its definition is to read another one's members; of itself, everyone's."""
        if one.archived:
            return "AUDIENCE_ARCHIVED"
        reads = None if step.other == place else step.other
        if reads is not None and (self.audiences[reads].state == "deleted" or reads == place or place in self.reach(reads)):
            return "INVALID_AUDIENCE"
        self.set(place, reads=reads, revision=one.revision + (reads != one.reads))
        return None

    def _activate(self, place: int, one: Modelled, step: Step) -> str | None:
        if one.archived:
            return "AUDIENCE_ARCHIVED"
        if one.state != "active":
            if self.faulty(one):
                return "INVALID_AUDIENCE"
            self.set(place, state="active", activate=0)
        return None

    def _deactivate(self, place: int, one: Modelled, step: Step) -> str | None:
        if one.state == "draft":
            return "AUDIENCE_NOT_ACTIVE"
        if one.state == "active":
            self.set(place, state="inactive", deactivate=0)
        return None

    def _archive(self, place: int, one: Modelled, step: Step) -> str | None:
        if one.state == "active":
            return "AUDIENCE_IS_ACTIVE"
        self.set(
            place, archived=True, activate=0 if not one.archived else one.activate, deactivate=0 if not one.archived else one.deactivate
        )
        return None

    def _unarchive(self, place: int, one: Modelled, step: Step) -> str | None:
        self.set(place, archived=False)
        return None

    def _clone(self, place: int, one: Modelled, step: Step) -> str | None:
        if self.taken(step.name):
            return "INVALID_AUDIENCE"
        self.audiences.append(Modelled(step.name, reads=one.reads))
        return None

    def _test(self, place: int, one: Modelled, step: Step) -> str | None:
        if one.archived:
            return "AUDIENCE_ARCHIVED"
        if one.tested:
            return "AB_TEST_EXISTS"
        self.set(place, tested=True)
        return None

    def _untest(self, place: int, one: Modelled, step: Step) -> str | None:
        if not one.tested:
            return "AB_TEST_NOT_FOUND"
        self.set(place, tested=False)
        return None

    def _schedule(self, place: int, one: Modelled, step: Step) -> str | None:
        """An activation so many minutes from now, and an end a minute after it."""
        if one.archived:
            return "AUDIENCE_ARCHIVED"
        if self.faulty(one):
            return "INVALID_AUDIENCE"
        self.set(place, activate=self.now + step.minutes * MINUTE, deactivate=self.now + (step.minutes + 1) * MINUTE)
        return None

    def pass_time(self, minutes: int) -> None:
        """What is due is done, what comes first first."""
        self.now += minutes * MINUTE
        while due := sorted(
            (time, move != "activate", place, move)
            for place, one in enumerate(self.audiences)
            for time, move in ((one.activate, "activate"), (one.deactivate, "deactivate"))
            if time and time <= self.now
        ):
            _, _, place, move = due[0]
            one = self.audiences[place]
            self.set(place, **{move: 0})
            if move == "activate" and not self.faulty(one):
                self.set(place, state="active")
            elif move == "deactivate" and one.state == "active":
                self.set(place, state="inactive")


# As often as they are named.
WHATS = (
    *("create", "wait", "wait", "rename", "read", "read", "activate", "activate", "activate", "deactivate", "deactivate", "archive"),
    *("archive", "unarchive", "clone", "test", "test", "untest", "schedule", "schedule", "delete"),
)
places = st.integers(0, 3)
steps = st.builds(Step, st.sampled_from(WHATS), places, places, st.sampled_from(NAMES), st.integers(1, 3))
BEGINNING = [Step("create", 0, name="a"), Step("create", 0, name="b")]


class Real:
    """The service itself, in one account."""

    def __init__(self, database: Database) -> None:
        self.clock = ManualClock()
        self.database = database
        self.audit = Audit("definition", tables.audit_heads, tables.audit_entries)
        self.store = Store(database, Outbox(tables.outbox), self.audit)
        relay = Relay(database, tables.outbox, Bus("nats://127.0.0.1:1", name="never"))
        figures = FiguresOf("127.0.0.1:1", Tokens("a secret that is long enough for it", "definition", self.clock))
        self.accounts = AccountApi(self.store, relay, self.clock)
        self.schedules = Schedules(self.store, relay, self.clock)
        self.audiences = AudienceApi(self.store, relay, self.clock, figures, self.schedules.wake)
        self.tests = AbTestApi(self.store, relay, self.clock)
        self.ids: list[int] = []
        self.workspace = 0
        self.account = 0

    async def begin(self) -> None:
        auth.set_caller(auth.Caller(auth.OPERATOR_ACCOUNT, "operator", frozenset({auth.OPERATOR})))
        self.account = (await self.accounts.CreateAccount(pb.CreateAccountRequest(name="Acme"), None)).account_id  # type: ignore[arg-type]
        auth.set_caller(auth.Caller(self.account, "ann", frozenset()))
        made = await self.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name="Shop"), None)  # type: ignore[arg-type]
        self.workspace = made.workspace_id

    def reading(self, place: int | None) -> d.Definition:
        return definition(everyone() if place is None else member_of(self.ids[place]))

    async def get(self, place: int) -> audience_pb2.Audience:
        return await self.audiences.GetAudience(pb.GetAudienceRequest(audience_id=self.ids[place]), None)  # type: ignore[arg-type]

    async def step(self, step: Step) -> str:
        """Ask for it; the reason of a refusal, or nothing."""
        try:
            await self._ask(step)
        except MusterError as error:
            return error.reason
        return ""

    async def _ask(self, step: Step) -> None:
        api: Any = self.audiences
        if step.what == "create":
            wanted = audience_pb2.Audience(name=step.name, workspace_ids=[self.workspace], definition=self.reading(None))
            self.ids.append((await api.CreateAudience(pb.CreateAudienceRequest(audience=wanted), None)).audience_id)
            return
        id_ = self.ids[step.which]
        match step.what:
            case "rename" | "read":
                wanted = audience_pb2.Audience(audience_id=id_, etag=(await self.get(step.which)).etag)
                request = pb.UpdateAudienceRequest(audience=wanted)
                if step.what == "rename":
                    request.audience.name = step.name
                else:
                    request.audience.definition.CopyFrom(self.reading(None if step.other == step.which else step.other))
                request.update_mask.paths.append("name" if step.what == "rename" else "definition")
                await api.UpdateAudience(request, None)
            case "activate":
                await api.ActivateAudience(pb.ActivateAudienceRequest(audience_id=id_), None)
            case "deactivate":
                await api.DeactivateAudience(pb.DeactivateAudienceRequest(audience_id=id_), None)
            case "archive":
                await api.ArchiveAudience(pb.ArchiveAudienceRequest(audience_id=id_), None)
            case "unarchive":
                await api.UnarchiveAudience(pb.UnarchiveAudienceRequest(audience_id=id_), None)
            case "delete":
                await api.DeleteAudience(pb.DeleteAudienceRequest(audience_id=id_), None)
            case "clone":
                clone = await api.CloneAudience(pb.CloneAudienceRequest(audience_id=id_, name=step.name), None)
                self.ids.append(clone.audience_id)
            case "schedule":
                now = self.clock.now_ms()
                schedule = audience_pb2.Schedule(
                    activate_time_ms=now + step.minutes * MINUTE, deactivate_time_ms=now + (step.minutes + 1) * MINUTE
                )
                await api.ScheduleAudience(pb.ScheduleAudienceRequest(audience_id=id_, schedule=schedule), None)
            case "test":
                test = audience_pb2.AbTest(audience_id=id_, name="x", variations=[audience_pb2.Variation(name="v", percentage=10)])
                await self.tests.CreateAbTest(pb.CreateAbTestRequest(ab_test=test), None)  # type: ignore[arg-type]
            case _:
                found = await self.tests.GetAbTest(pb.GetAbTestRequest(audience_id=id_), None)  # type: ignore[arg-type]
                await self.tests.DeleteAbTest(pb.DeleteAbTestRequest(ab_test_id=found.ab_test_id), None)  # type: ignore[arg-type]

    async def pass_time(self, minutes: int) -> None:
        await self.clock.advance(minutes * 60)
        # What the loop does when it wakes, until nothing is due.
        while await self.store.due(self.clock.now_ms(), limit=1):
            await self.schedules._step()


def compared(model: Model, place: int, one: audience_pb2.Audience, start: int) -> None:
    wanted = model.audiences[place]
    assert (one.name, one.state, bool(one.archive_time_ms)) == (wanted.name, STATES[wanted.state], wanted.archived)
    assert (bool(one.ab_test_id), one.revision) == (wanted.tested, wanted.revision)
    told = (one.schedule.activate_time_ms, one.schedule.deactivate_time_ms)
    assert told == tuple(time and start + time for time in (wanted.activate, wanted.deactivate))


async def run(history: list[Step], path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{path}")
    await database.start()
    try:
        real, model = Real(database), Model()
        await real.begin()
        start = real.clock.now_ms()
        for step in history:
            if step.what == "wait":
                model.pass_time(step.minutes)
                await real.pass_time(step.minutes)
            else:
                count = max(1, len(model.audiences))
                step = replace(step, which=step.which % count, other=step.other % count)
                before = [await real.get(place) for place in range(len(real.ids))]
                refused = model.step(step)
                assert await real.step(step) == refused, step
                if refused:
                    assert [await real.get(place) for place in range(len(real.ids))] == before, "what is refused changes nothing"
            for place in range(len(real.ids)):
                compared(model, place, await real.get(place), start)
        await audited(real)
    finally:
        await database.stop()


async def audited(real: Real) -> None:
    """The audit log holds."""
    verifier = Verifier()
    async for page in real.audit.chain(real.database, real.account, after=0):
        assert all(verifier.take(one.entry, one.hash) for one in page), verifier.fault


@pytest.fixture(scope="module")
def empty_database() -> Iterator[Path]:
    """A migrated database, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="muster-machine-"))

    async def make() -> None:
        database = Database(f"sqlite+aiosqlite:///{folder / 'empty.db'}")
        await database.start()
        await migrate(database, MIGRATIONS)
        await database.stop()

    asyncio.run(make())
    yield folder / "empty.db"
    shutil.rmtree(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(steps, min_size=20, max_size=40))
def test_after_any_history_audiences_are_what_they_should_be(empty_database: Path, history: list[Step]) -> None:
    path = empty_database.with_name("run.db")
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    shutil.copy(empty_database, path)
    asyncio.run(run(BEGINNING + history, path))
