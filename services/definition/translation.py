"""Between the messages of the contract and the values of the domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from muster.definition.v1 import account_pb2, audience_pb2, catalogue_service_pb2, definition_service_pb2
from muster.forwarder.v1 import connection_pb2
from muster.ingest.v1 import event_type_pb2, identity_pb2
from muster.sharing.v1 import sharing_service_pb2

from .domain.ab_tests import AbTest, Variation
from .domain.accounts import Account, Input, Workspace
from .domain.audiences import Audience, Edit, Revision
from .domain.catalogue import CatalogueKind, Coverage, Entry, EntryKey, ListedAttribute, ListedName
from .domain.etags import etag_of
from .domain.faults import Fault
from .domain.identity_rules import IdentityRule, IdentityRules
from .domain.listing import AudienceRow, Figures
from .domain.overrides import AttributeKind, AttributeOverride, AttributeType
from .domain.schedules import NO_SCHEDULE, Schedule
from .domain.uses import ConnectionUse, Uses


def account_to_proto(account: Account) -> account_pb2.Account:
    return account_pb2.Account(
        account_id=account.account_id,
        name=account.name,
        look_back_days=account.look_back_days,
        create_time_ms=account.create_time_ms,
        etag=etag_of(account.version),
        identity_rules=None if account.identity_rules is None else _identity_rules_to_proto(account.identity_rules),
    )


def identity_rules_of(account: account_pb2.Account) -> IdentityRules | None:
    if not account.HasField("identity_rules"):
        return None
    told = account.identity_rules
    return IdentityRules(tuple(IdentityRule(int(rule.type), rule.max_values, rule.moves) for rule in told.rules), told.keep_apart)


def _identity_rules_to_proto(rules: IdentityRules) -> account_pb2.IdentityRules:
    return account_pb2.IdentityRules(
        rules=[
            account_pb2.IdentityRule(type=identity_pb2.IdentityType.ValueType(rule.type), max_values=rule.max_values, moves=rule.moves)
            for rule in rules.rules
        ],
        keep_apart=rules.keep_apart,
    )


def workspace_to_proto(workspace: Workspace) -> account_pb2.Workspace:
    return account_pb2.Workspace(
        workspace_id=workspace.workspace_id,
        name=workspace.name,
        create_time_ms=workspace.create_time_ms,
        etag=etag_of(workspace.version),
        attribute_overrides=[override_to_proto(one) for one in workspace.attribute_overrides],
    )


def override_to_proto(override: AttributeOverride) -> account_pb2.AttributeOverride:
    return account_pb2.AttributeOverride(
        kind=account_pb2.AttributeKind.ValueType(override.kind),
        attribute=override.attribute,
        type=account_pb2.AttributeType.ValueType(override.type),
    )


def override_of(override: account_pb2.AttributeOverride) -> AttributeOverride:
    return AttributeOverride(AttributeKind(override.kind), override.attribute, AttributeType(override.type))


def input_to_proto(data_input: Input) -> account_pb2.Input:
    return account_pb2.Input(
        input_id=data_input.input_id,
        workspace_id=data_input.workspace_id,
        name=data_input.name,
        kind=account_pb2.InputKind.ValueType(data_input.kind),
        platform=account_pb2.Platform.ValueType(data_input.platform),
        api_key=data_input.api_key,
        state=account_pb2.InputState.ValueType(data_input.state),
        create_time_ms=data_input.create_time_ms,
        etag=etag_of(data_input.version),
        allow_key_only=data_input.allow_key_only,
        events_per_second=data_input.events_per_second,
        events_per_day=data_input.events_per_day,
    )


def audience_to_proto(audience: Audience) -> audience_pb2.Audience:
    return audience_pb2.Audience(
        audience_id=audience.audience_id,
        name=audience.name,
        external_name=audience.external_name,
        description=audience.description,
        workspace_ids=audience.workspace_ids,
        input_ids=audience.input_ids,
        definition=audience.definition,
        tags=audience.tags,
        state=audience_pb2.AudienceState.ValueType(audience.state),
        revision=audience.revision,
        etag=etag_of(audience.version),
        create_time_ms=audience.create_time_ms,
        update_time_ms=audience.update_time_ms,
        created_by=audience.created_by,
        updated_by=audience.updated_by,
        delete_time_ms=audience.delete_time_ms,
        ab_test_id=audience.ab_test_id,
        archive_time_ms=audience.archive_time_ms,
        schedule=_schedule_to_proto(audience.schedule) if audience.schedule != NO_SCHEDULE else None,
    )


def _schedule_to_proto(schedule: Schedule) -> audience_pb2.Schedule:
    return audience_pb2.Schedule(
        activate_time_ms=schedule.activate_time_ms,
        deactivate_time_ms=schedule.deactivate_time_ms,
        set_by=schedule.set_by,
        fault=schedule.fault,
    )


def schedule_of(schedule: audience_pb2.Schedule, *, author: str) -> Schedule:
    """The times that a client asks for; without any there is no schedule."""
    asked = Schedule(schedule.activate_time_ms, schedule.deactivate_time_ms, author)
    return asked if asked.next_time_ms else NO_SCHEDULE


def ab_test_to_proto(test: AbTest) -> audience_pb2.AbTest:
    """A deleted one has no variations any more."""
    told = () if test.deleted else test.variations
    return audience_pb2.AbTest(
        ab_test_id=test.ab_test_id,
        audience_id=test.audience_id,
        name=test.name,
        variations=[
            audience_pb2.Variation(variation_id=place, name=one.name, percentage=one.percentage) for place, one in enumerate(told, start=1)
        ],
        create_time_ms=test.create_time_ms,
        etag=etag_of(test.version),
        created_by=test.created_by,
        delete_time_ms=test.delete_time_ms,
    )


def variations_of(test: audience_pb2.AbTest) -> tuple[Variation, ...]:
    return tuple(Variation(one.name, one.percentage) for one in test.variations)


def revision_to_proto(revision: Revision) -> audience_pb2.AudienceRevision:
    return audience_pb2.AudienceRevision(
        audience_id=revision.audience_id,
        revision=revision.revision,
        definition=revision.definition,
        workspace_ids=revision.workspace_ids,
        input_ids=revision.input_ids,
        author=revision.author,
        note=revision.note,
        create_time_ms=revision.create_time_ms,
    )


def row_to_proto(row: AudienceRow, figures: Figures | None, connections: Sequence[ConnectionUse]) -> definition_service_pb2.AudienceRow:
    told = definition_service_pb2.AudienceRow(
        audience_id=row.audience_id,
        name=row.name,
        external_name=row.external_name,
        tags=row.tags,
        workspace_ids=row.workspace_ids,
        state=audience_pb2.AudienceState.ValueType(row.state),
        revision=row.revision,
        etag=etag_of(row.version),
        created_by=row.created_by,
        updated_by=row.updated_by,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
        archive_time_ms=row.archive_time_ms,
        ab_test_id=row.ab_test_id,
        schedule=_schedule_to_proto(row.schedule) if row.schedule != NO_SCHEDULE else None,
        connections=[connection_to_proto(one) for one in connections],
    )
    if figures is not None:
        told.figures.size, told.figures.adds, told.figures.drops = figures.size, figures.adds, figures.drops
        if figures.volatility is not None:
            told.figures.volatility = figures.volatility
    return told


def uses_to_proto(uses: Uses, *, with_digest: bool) -> definition_service_pb2.ListAudienceUsesResponse:
    return definition_service_pb2.ListAudienceUsesResponse(
        audiences=[
            definition_service_pb2.AudienceUser(
                audience_id=one.audience_id, name=one.name, state=audience_pb2.AudienceState.ValueType(one.state)
            )
            for one in uses.audiences
        ],
        ab_tests=[ab_test_to_proto(test) for test in uses.tests],
        connections=[connection_to_proto(one) for one in uses.connections],
        digest=uses.digest if with_digest else "",
        shares=[
            definition_service_pb2.ShareUse(
                share_id=one.share_id,
                audience_id=one.audience_id,
                receiver_name=one.receiver_name,
                state=sharing_service_pb2.ShareState.ValueType(one.state),
            )
            for one in uses.shares
        ],
    )


def connection_to_proto(use: ConnectionUse) -> definition_service_pb2.ConnectionUse:
    return definition_service_pb2.ConnectionUse(
        connection_id=use.connection_id,
        audience_id=use.audience_id,
        variation=use.variation,
        configuration_id=use.configuration_id,
        configuration_name=use.configuration_name,
        integration_key=use.integration_key,
        state=connection_pb2.ConnectionState.ValueType(use.state),
        fault=use.fault,
    )


def fault_to_proto(fault: Fault) -> definition_service_pb2.DefinitionFault:
    return definition_service_pb2.DefinitionFault(
        field=fault.field, node_id=fault.node_id, description=fault.description, reason=fault.reason.value
    )


def event_name_to_proto(listed: ListedName) -> catalogue_service_pb2.EventName:
    return catalogue_service_pb2.EventName(
        event_type=event_type_pb2.EventType.ValueType(listed.type),
        name=listed.name,
        sightings=_sightings_to_proto(listed),
        entry=entry_to_proto(listed.entry),
    )


def attribute_to_proto(listed: ListedAttribute) -> catalogue_service_pb2.CatalogueAttribute:
    types = sorted(listed.types.items(), key=lambda item: (-item[1], item[0]))
    return catalogue_service_pb2.CatalogueAttribute(
        kind=catalogue_service_pb2.CatalogueKind.ValueType(listed.kind),
        name=listed.name,
        sightings=_sightings_to_proto(listed),
        types=[catalogue_service_pb2.DetectedType(type=account_pb2.AttributeType.ValueType(type_), count=count) for type_, count in types],
        override=account_pb2.AttributeType.ValueType(listed.override or 0),
        entry=entry_to_proto(listed.entry),
    )


def _sightings_to_proto(listed: ListedName | ListedAttribute) -> catalogue_service_pb2.Sightings:
    return catalogue_service_pb2.Sightings(count=listed.count, first_time_ms=listed.first_ms, last_time_ms=listed.last_ms)


def coverage_to_proto(coverage: Coverage) -> catalogue_service_pb2.Coverage:
    return catalogue_service_pb2.Coverage(unlisted_events=coverage.unlisted_events, unlisted_attributes=coverage.unlisted_attributes)


def entry_to_proto(entry: Entry) -> catalogue_service_pb2.CatalogueEntry:
    return catalogue_service_pb2.CatalogueEntry(
        workspace_id=entry.key.workspace_id,
        kind=catalogue_service_pb2.CatalogueKind.ValueType(entry.key.kind),
        event_type=event_type_pb2.EventType.ValueType(entry.key.type),
        name=entry.key.name,
        description=entry.description,
        deprecated=entry.deprecated,
        deprecation_note=entry.deprecation_note,
        etag=etag_of(entry.version),
        update_time_ms=entry.update_time_ms,
        updated_by=entry.updated_by,
    )


def entry_key_of(asked: catalogue_service_pb2.CatalogueEntry | catalogue_service_pb2.GetCatalogueEntryRequest) -> EntryKey:
    """Of an attribute the type of event says nothing."""
    kind = CatalogueKind(asked.kind)
    return EntryKey(asked.workspace_id, kind, int(asked.event_type) if kind is CatalogueKind.EVENT_NAME else 0, asked.name)


def entry_of(entry: catalogue_service_pb2.CatalogueEntry) -> Entry:
    """What a client says of a name."""
    return Entry(entry_key_of(entry), description=entry.description, deprecated=entry.deprecated, deprecation_note=entry.deprecation_note)


# What a client may set of an audience, and how each is read; a mask may name these.
_EDITABLE: Mapping[str, Callable[[audience_pb2.Audience], Any]] = {
    "name": lambda audience: audience.name,
    "external_name": lambda audience: audience.external_name,
    "description": lambda audience: audience.description,
    "workspace_ids": lambda audience: tuple(audience.workspace_ids),
    "input_ids": lambda audience: tuple(audience.input_ids),
    "definition": lambda audience: audience.definition,
    "tags": lambda audience: tuple(audience.tags),
}
EDITABLE = frozenset(_EDITABLE)


def edit_of(audience: audience_pb2.Audience, paths: frozenset[str] = EDITABLE) -> Edit:
    """What a client asks for: of the things that it may set, those that `paths` name."""
    return Edit(**{path: _EDITABLE[path](audience) for path in paths})
