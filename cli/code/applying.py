"""Carries a plan out. Each call may be repeated: what is made is made under a key, and what is changed must be as it was seen."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from google.protobuf.message import Message
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.forwarder.v1 import connection_pb2
from muster.forwarder.v1 import forwarder_service_pb2 as forwarder_pb

from cli.client import Muster
from cli.code.account import instant_ms
from cli.code.document import Connection
from cli.code.names import renumbered
from cli.code.plan import Action, Change, Kind, Step, settled
from cli.code.planning import Planned, now_utc, uses_of
from cli.code.resolving import Resolved
from cli.faults import CliFault, ExitCode

# The forwarder follows what the definition service says, and may be a moment behind.
_WAIT_SECONDS = 20.0
_FIRST_PAUSE_SECONDS = 0.05
# So long it may take until the forwarder has heard that a test was replaced.
_SETTLE_SECONDS = 1.0
_BEHIND = frozenset({"AUDIENCE_NOT_FOUND", "AUDIENCE_NOT_ACTIVE", "UNKNOWN_VARIATION", "CONNECTION_EXISTS"})
_FIELDS = {"workspaces": "workspace_ids", "inputs": "input_ids"}
# Who reads what is judged anew with these: the definition goes along.
_WITH_DEFINITION = frozenset({"workspaces", "inputs", "definition"})

Made = TypeVar("Made", bound=Message)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change; `fault` is None where all of it was done."""

    change: Change
    done: int
    fault: CliFault | None = None


@dataclass(slots=True)
class Applying:
    """A plan on its way. `told` is called with each step once it is done."""

    muster: Muster
    planned: Planned
    told: Callable[[Change, Step], None]
    # The numbers of audiences by the names of their files, and the etags by their numbers, as they are now.
    numbers: dict[str, int] = field(default_factory=dict)
    etags: dict[int, str] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)

    def run(self) -> Iterator[Outcome]:
        """Each change with its outcome. What depends on one that was refused is not begun; the rest is done. Raises CliFault where a
        service does not answer."""
        self.etags = {number: one.etag for number, one in self.planned.account.audiences.items()}
        self.numbers = {one.name: one.there.audience_id for one in self.planned.resolution.files if one.there is not None}
        for change in self.planned.plan.changes:
            missing = sorted(change.reads & self.undone)
            if missing:
                self.undone.add(change.name)
                yield Outcome(change, 0, CliFault(f"Not begun, as {missing[0]!r}, whose members it reads, could not be changed."))
                continue
            yield self._change(change)

    def _change(self, change: Change) -> Outcome:
        file = self.planned.file(change)
        for done, step in enumerate(change.steps):
            try:
                self._step(change, step, file)
            except CliFault as fault:
                if fault.exit_code is ExitCode.UNAVAILABLE:
                    raise
                self.undone.add(change.name)
                return Outcome(change, done, _explained(fault))
            self.told(change, step)
        return Outcome(change, len(change.steps))

    def _step(self, change: Change, step: Step, file: Resolved | None) -> None:
        if file is None:
            self._delete(change.audience_id)
            return
        if step.action is Action.CREATE:
            made = self._create(file)
            self.numbers[file.name] = made.audience_id
            self.etags[made.audience_id] = made.etag
            return
        number = self.numbers[file.name]
        audiences, etag = self.muster.audiences, self.etags[number]
        match step.action:
            case Action.EDIT:
                self._moved(audiences.UpdateAudience, self._edit(number, step, file))
            case Action.ACTIVATE:
                self._moved(audiences.ActivateAudience, pb.ActivateAudienceRequest(audience_id=number, etag=etag))
            case Action.DEACTIVATE:
                self._moved(audiences.DeactivateAudience, pb.DeactivateAudienceRequest(audience_id=number, etag=etag))
            case Action.ARCHIVE:
                self._moved(audiences.ArchiveAudience, pb.ArchiveAudienceRequest(audience_id=number, etag=etag))
            case Action.UNARCHIVE:
                self._moved(audiences.UnarchiveAudience, pb.UnarchiveAudienceRequest(audience_id=number, etag=etag))
            case Action.SCHEDULE:
                self._moved(audiences.ScheduleAudience, self._schedule(number, file))
            case Action.DELETE_TEST:
                self._delete_test(number)
            case Action.CREATE_TEST:
                self._create_test(number, file)
            case Action.DELETE_CONNECTION if step.connection is not None:
                self._disconnect(number, step.connection)
            case Action.CREATE_CONNECTION if step.connection is not None:
                self._connect(number, step.connection)

    def _moved(self, method: Callable[..., audience_pb2.Audience], request: Message) -> None:
        audience = self.muster.call(method, request, service="definition")
        self.etags[audience.audience_id] = audience.etag

    def _audience(self, file: Resolved) -> audience_pb2.Audience:
        """All that a file sets."""
        said, new = file.wanted.document, self.planned.resolution.new
        audience = audience_pb2.Audience(
            name=said.name,
            external_name=said.external_name,
            description=said.description,
            tags=said.tags,
            workspace_ids=file.workspace_ids,
            input_ids=file.input_ids,
        )
        if file.definition is not None:
            found = renumbered(file.definition, lambda number: self.numbers[new[number]] if number in new else number)
            audience.definition.CopyFrom(found)
        return audience

    def _create(self, file: Resolved) -> audience_pb2.Audience:
        request = pb.CreateAudienceRequest(audience=self._audience(file))

        def call(key: str) -> audience_pb2.Audience:
            request.idempotency_key = key
            return self.muster.call(self.muster.audiences.CreateAudience, request, service="definition")

        # Whatever has become of it, if another apply made it at the same time.
        return _once(request, call, lambda made: made.name == file.name and made.state != audience_pb2.AUDIENCE_STATE_DELETED)

    def _edit(self, number: int, step: Step, file: Resolved) -> pb.UpdateAudienceRequest:
        request = pb.UpdateAudienceRequest(audience=self._audience(file))
        request.audience.audience_id = number
        request.audience.etag = self.etags[number]
        fields = [name for name in step.fields if name != "definition"]
        request.update_mask.paths.extend(_FIELDS.get(name, name) for name in fields)
        if _WITH_DEFINITION & set(step.fields):
            request.update_mask.paths.append("definition")
        return request

    def _schedule(self, number: int, file: Resolved) -> pb.ScheduleAudienceRequest:
        request = pb.ScheduleAudienceRequest(audience_id=number, etag=self.etags[number])
        schedule = settled(file.wanted.document, now_utc()).schedule
        if schedule is not None:
            request.schedule.activate_time_ms = instant_ms(schedule.activate)
            request.schedule.deactivate_time_ms = instant_ms(schedule.deactivate)
        return request

    def _create_test(self, number: int, file: Resolved) -> None:
        said = file.wanted.document.test
        if said is None:
            return
        request = pb.CreateAbTestRequest(ab_test=audience_pb2.AbTest(audience_id=number, name=said.name))
        for variation in said.variations:
            request.ab_test.variations.add(name=variation.name, percentage=variation.percentage)

        def call(key: str) -> audience_pb2.AbTest:
            request.idempotency_key = key
            return self.muster.call(self.muster.ab_tests.CreateAbTest, request, service="definition")

        _once(request, call, lambda made: not made.delete_time_ms)
        self._etag_after_test(number)

    def _delete_test(self, number: int) -> None:
        test = self.planned.account.tests[number]
        request = pb.DeleteAbTestRequest(ab_test_id=test.ab_test_id, etag=test.etag)
        self.muster.call(self.muster.ab_tests.DeleteAbTest, request, service="definition")
        self._etag_after_test(number)
        # The connections of its variations end with it. Only then a new test may be given new ones of the same names.
        ending = [one for one in self.planned.account.connections.get(number, ()) if one.variation]
        self._wait_until(lambda: not self._connected(number) & {one.connection_id for one in ending})

    def _etag_after_test(self, number: int) -> None:
        """A test moves the etag of its audience, and the answer does not tell it. All that overwrites anything was done before."""
        request = pb.GetAudienceRequest(audience_id=number)
        self.etags[number] = self.muster.call(self.muster.audiences.GetAudience, request, service="definition").etag

    def _connected(self, number: int) -> set[int]:
        """The numbers of the connections that an audience has now."""
        request = forwarder_pb.ListConnectionsRequest(audience_id=number)
        pages = self.muster.pages(self.muster.connections.ListConnections, request, service="forwarder")
        return {one.connection_id for page in pages for one in page.connections}

    def _disconnect(self, number: int, gone: Connection) -> None:
        directory = self.planned.account.directory
        for one in self.planned.account.connections.get(number, ()):
            configuration = directory.configurations.get(one.configuration_id)
            if configuration is not None and (configuration.name, one.variation) == gone.key:
                request = forwarder_pb.DeleteConnectionRequest(connection_id=one.connection_id)
                try:
                    self.muster.call(self.muster.connections.DeleteConnection, request, service="forwarder")
                except CliFault as fault:
                    # Somebody else was first.
                    if fault.reason != "CONNECTION_NOT_FOUND":
                        raise

    def _connect(self, number: int, wanted: Connection) -> None:
        request = forwarder_pb.CreateConnectionRequest(
            audience_id=number,
            variation=wanted.variation,
            configuration_id=self.planned.account.directory.configuration(wanted.configuration).configuration_id,
            settings=wanted.settings,
        )

        def call(key: str) -> connection_pb2.Connection:
            request.idempotency_key = key
            return self.muster.call(self.muster.connections.CreateConnection, request, service="forwarder")

        def connected() -> bool:
            try:
                made = _once(request, call, lambda made: made.state != connection_pb2.CONNECTION_STATE_DELETED)
                if wanted.variation and number in self.planned.account.tests:
                    # Where the forwarder did not know yet that this is another test, the connection ends with the old one.
                    time.sleep(_SETTLE_SECONDS)
                    return made.connection_id in self._connected(number)
            except CliFault as fault:
                if _BEHIND & {fault.reason, *(violation.reason for violation in fault.violations)}:
                    waiting.append(fault)
                    return False
                raise
            return True

        waiting = [CliFault("The connection was made, and ended at once.")]
        if not self._wait_until(connected):
            raise waiting[-1]

    def _wait_until(self, condition: Callable[[], bool]) -> bool:
        """Whether it came to be within a while."""
        end, pause = time.monotonic() + _WAIT_SECONDS, _FIRST_PAUSE_SECONDS
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
        return True

    def _delete(self, number: int) -> None:
        """Delete an audience with its test and connections: at most with those that were shown."""
        shown, now = self.planned.uses[number], uses_of(self.muster, number)
        more = {one.connection_id for one in now.connections} - {one.connection_id for one in shown.connections}
        tests = {one.ab_test_id for one in now.ab_tests} - {one.ab_test_id for one in shown.ab_tests}
        if now.audiences:
            names = ", ".join(repr(one.name) for one in now.audiences)
            raise CliFault(f"Its members are read by {names}.", reason="AUDIENCE_IN_USE")
        if more or tests:
            raise CliFault("It is used by more than was shown.", reason="USES_CHANGED", hint="Look again with `muster diff --prune`.")
        request = pb.DeleteAudienceRequest(audience_id=number, etag=self.etags[number], cascade=True, uses_digest=now.digest)
        self.muster.call(self.muster.audiences.DeleteAudience, request, service="definition")


def _once(request: Message, call: Callable[[str], Made], is_ours: Callable[[Made], bool]) -> Made:
    """What a create makes, at most once however often it is repeated: its key comes from what it asks for. Where that was made before and
    has since become something else, the next key is taken."""
    digest = hashlib.sha256(type(request).__name__.encode() + request.SerializeToString(deterministic=True)).hexdigest()[:40]
    number = 0
    while not is_ours(made := call(f"code/{digest}/{number}")):
        number += 1
    return made


def _explained(fault: CliFault) -> CliFault:
    if fault.reason != "STALE_ETAG":
        return fault
    return CliFault(
        "Somebody else changed it after it was read here; nothing of theirs was overwritten.",
        code=fault.code,
        reason=fault.reason,
        hint="Look with `muster diff`, and apply again.",
    )


def summary(change: Change) -> str:
    """What is done with an audience, in a word."""
    return {Kind.CREATE: "created", Kind.EDIT: "changed", Kind.DELETE: "deleted"}[change.kind]
