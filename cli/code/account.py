"""An account as it is: its names, and its audiences as documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.forwarder.v1 import connection_pb2
from muster.forwarder.v1 import forwarder_service_pb2 as forwarder_pb

from cli import definition as definitions
from cli.client import Muster
from cli.code.directory import Configuration, Directory, Input
from cli.code.document import AbTest, Connection, Document, Schedule, State, Variation
from cli.code.names import Kind, inner_audiences, with_names
from cli.code.plan import Present

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STATES = {
    audience_pb2.AUDIENCE_STATE_DRAFT: State.DRAFT,
    audience_pb2.AUDIENCE_STATE_ACTIVE: State.ACTIVE,
    audience_pb2.AUDIENCE_STATE_INACTIVE: State.INACTIVE,
}


@dataclass(frozen=True, slots=True)
class Account:
    """What is there. `audiences`, `tests` and `connections` are the messages by the numbers of their audiences, with the etags that
    changes need; those of deleted audiences are not among them."""

    directory: Directory
    present: tuple[Present, ...]
    audiences: Mapping[int, audience_pb2.Audience]
    tests: Mapping[int, audience_pb2.AbTest]
    connections: Mapping[int, tuple[connection_pb2.Connection, ...]]


def read_account(muster: Muster) -> Account:
    """All of it. Raises CliFault."""
    # Once more at the end, for those that were taken back from the archive between the first two lists.
    lists = (False, True, False)
    audiences = {one.audience_id: one for archived in lists for one in _audiences(muster, archived=archived)}
    directory = _directory(muster, audiences.values())
    tests = {
        number: muster.call(muster.ab_tests.GetAbTest, pb.GetAbTestRequest(audience_id=number), service="definition")
        for number, one in audiences.items()
        if one.ab_test_id
    }
    connections: dict[int, list[connection_pb2.Connection]] = defaultdict(list)
    for page in muster.pages(muster.connections.ListConnections, forwarder_pb.ListConnectionsRequest(), service="forwarder"):
        for connection in page.connections:
            connections[connection.audience_id].append(connection)
    present = []
    for number, one in sorted(audiences.items()):
        text = definitions.text_of(muster, one.definition)
        document = document_of(one, text, tests.get(number), connections.get(number, ()), directory)
        was_active = one.state != audience_pb2.AUDIENCE_STATE_DRAFT
        present.append(Present(number, document, was_active, frozenset(inner_audiences(one.definition))))
    return Account(directory, tuple(present), audiences, tests, {number: tuple(found) for number, found in connections.items()})


def document_of(
    audience: audience_pb2.Audience,
    text: str,
    test: audience_pb2.AbTest | None,
    connections: Iterable[connection_pb2.Connection],
    directory: Directory,
) -> Document:
    """The document of an audience whose definition the server prints as `text`."""
    archived = audience.archive_time_ms > 0
    workspaces = audience.workspace_ids
    # Nothing is judged: what the services hold is as they judged it, and shows as it is.
    return Document.model_construct(
        name=audience.name,
        previous_name=None,
        external_name=audience.external_name,
        description=audience.description,
        tags=tuple(audience.tags),
        workspaces=tuple(directory.workspaces.get(number, str(number)) for number in workspaces),
        inputs=tuple(directory.input_name(number, workspaces) for number in audience.input_ids),
        definition=with_names(text, _naming(directory, workspaces)),
        state=State.ARCHIVED if archived else _STATES[audience.state],
        schedule=_schedule(audience.schedule),
        test=_test(test) if test is not None else None,
        connections=tuple(_connection(one, directory) for one in connections),
    )


def instant_ms(instant: datetime | None) -> int:
    """Milliseconds since 1970; 0 for none."""
    return (instant - _EPOCH) // timedelta(milliseconds=1) if instant else 0


def _audiences(muster: Muster, *, archived: bool) -> Iterable[audience_pb2.Audience]:
    request = pb.ListAudiencesRequest(archived=archived, order_by="create_time asc")
    for page in muster.pages(muster.audiences.ListAudiences, request, service="definition"):
        yield from page.audiences


def _directory(muster: Muster, audiences: Iterable[audience_pb2.Audience]) -> Directory:
    workspaces = muster.pages(muster.accounts.ListWorkspaces, pb.ListWorkspacesRequest(), service="definition")
    inputs = muster.pages(muster.accounts.ListInputs, pb.ListInputsRequest(), service="definition")
    answer = muster.call(muster.configurations.ListIntegrations, forwarder_pb.ListIntegrationsRequest(), service="forwarder")
    secrets = {
        integration.integration_key: frozenset(
            setting.key for setting in integration.connection_settings if setting.type == connection_pb2.SETTING_TYPE_SECRET
        )
        for integration in answer.integrations
    }
    configurations = muster.pages(muster.configurations.ListConfigurations, forwarder_pb.ListConfigurationsRequest(), service="forwarder")
    return Directory(
        workspaces={one.workspace_id: one.name for page in workspaces for one in page.workspaces},
        inputs={one.input_id: Input(one.input_id, one.workspace_id, one.name) for page in inputs for one in page.inputs},
        configurations={
            one.configuration_id: Configuration(one.configuration_id, one.name, secrets.get(one.integration_key, frozenset()))
            for page in configurations
            for one in page.configurations
        },
        audiences={one.audience_id: one.name for one in audiences},
    )


def _naming(directory: Directory, workspaces: Iterable[int]) -> Callable[[Kind, int], str]:
    def name(kind: Kind, number: int) -> str:
        match kind:
            case Kind.AUDIENCE:
                return directory.audiences.get(number, str(number))
            case Kind.WORKSPACE:
                return directory.workspaces.get(number, str(number))
            case Kind.INPUT:
                return directory.input_name(number, workspaces)

    return name


def _schedule(schedule: audience_pb2.Schedule) -> Schedule | None:
    activate, deactivate = _instant(schedule.activate_time_ms), _instant(schedule.deactivate_time_ms)
    return Schedule.model_construct(activate=activate, deactivate=deactivate) if activate or deactivate else None


def _instant(ms: int) -> datetime | None:
    return _EPOCH + timedelta(milliseconds=ms) if ms else None


def _test(test: audience_pb2.AbTest) -> AbTest:
    variations = tuple(Variation.model_construct(name=one.name, percentage=one.percentage) for one in test.variations)
    return AbTest.model_construct(name=test.name, variations=variations)


def _connection(connection: connection_pb2.Connection, directory: Directory) -> Connection:
    configuration = directory.configurations.get(connection.configuration_id)
    secrets = configuration.secrets if configuration else frozenset()
    return Connection.model_construct(
        configuration=configuration.name if configuration else str(connection.configuration_id),
        variation=connection.variation,
        settings={key: value for key, value in connection.settings.items() if key not in secrets},
    )
