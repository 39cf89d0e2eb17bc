"""Domain values as messages of the contract."""

from __future__ import annotations

from muster.forwarder.v1 import connection_pb2 as pb
from muster.forwarder.v1 import forwarder_service_pb2
from muster.ingest.v1 import identity_pb2

from services.forwarder.connectors.base import Spec
from services.forwarder.domain.connections import Connection, State
from services.forwarder.domain.faults import Cause
from services.forwarder.domain.forms import Setting, SettingType, settings_of
from services.forwarder.domain.identities import Kind
from services.forwarder.stores.configurations import Configuration
from services.forwarder.stores.deliveries import DeliveryRecord, Outcome, RejectedRecord
from services.forwarder.stores.erasures import PartnerRecord

_STATES = {
    State.SENDING: pb.CONNECTION_STATE_SENDING,
    State.PAUSED: pb.CONNECTION_STATE_PAUSED,
    State.FAULTED: pb.CONNECTION_STATE_FAULTED,
    State.DELETED: pb.CONNECTION_STATE_DELETED,
}
_STATES_BACK = {number: state for state, number in _STATES.items()}
_OUTCOMES = {
    Outcome.PENDING: pb.DELIVERY_OUTCOME_PENDING,
    Outcome.ACCEPTED: pb.DELIVERY_OUTCOME_ACCEPTED,
    Outcome.FAILED: pb.DELIVERY_OUTCOME_FAILED,
}
_TYPES = {
    SettingType.STRING: pb.SETTING_TYPE_STRING,
    SettingType.SECRET: pb.SETTING_TYPE_SECRET,
    SettingType.INTEGER: pb.SETTING_TYPE_INTEGER,
    SettingType.BOOLEAN: pb.SETTING_TYPE_BOOLEAN,
    SettingType.CHOICE: pb.SETTING_TYPE_CHOICE,
    SettingType.IDENTITY_TYPES: pb.SETTING_TYPE_IDENTITY_TYPES,
}


def integration(spec: Spec) -> pb.Integration:
    """A partner, with its forms."""
    return pb.Integration(
        integration_key=spec.key,
        name=spec.name,
        description=spec.description,
        identity_types=[identity_type(kind) for kind in sorted(spec.accepts)],
        configuration_settings=[_setting(line) for line in settings_of(spec.form)],
        connection_settings=[_setting(line) for line in settings_of(spec.connection_form)],
        on_delete=spec.on_delete,
    )


def configuration(found: Configuration, *, faulted: int) -> pb.Configuration:
    """A configuration, its secrets left out."""
    return pb.Configuration(
        configuration_id=found.id,
        integration_key=found.integration_key,
        name=found.name,
        settings=found.settings,
        etag=found.etag,
        create_time_ms=found.create_time_ms,
        update_time_ms=found.update_time_ms,
        faulted_connections=faulted,
    )


def connection(found: Connection, *, waiting: int, rejected: int) -> pb.Connection:
    """A connection."""
    message = pb.Connection(
        connection_id=found.id,
        audience_id=found.audience_id,
        variation=found.variation,
        configuration_id=found.configuration_id,
        settings=found.settings,
        state=_STATES[found.state],
        pause_reason=found.pause_reason,
        delivered_members=found.delivered_members,
        waiting_changes=waiting,
        last_delivery_time_ms=found.last_delivery_time_ms or 0,
        create_time_ms=found.create_time_ms,
        update_time_ms=found.update_time_ms,
        etag=found.etag,
        rejected_records=rejected,
    )
    if found.fault is not None:
        message.fault.CopyFrom(
            pb.Fault(
                cause=cause(found.fault.cause),
                message=found.fault.message,
                time_ms=found.fault.time_ms,
                waiting_changes=found.fault.waiting_changes,
            )
        )
    return message


def delivery(found: DeliveryRecord) -> pb.Delivery:
    """A delivery."""
    return pb.Delivery(
        delivery_id=found.id,
        connection_id=found.connection_id,
        request_id=found.request_id,
        outcome=_OUTCOMES[found.outcome],
        adds=found.adds,
        drops=found.drops,
        updates=found.updates,
        rejected=found.rejected,
        tries=found.tries,
        create_time_ms=found.create_time_ms,
        finish_time_ms=found.finish_time_ms or 0,
        message=found.message,
    )


def rejected_record(found: RejectedRecord) -> pb.RejectedRecord:
    """A record that the partner refused."""
    return pb.RejectedRecord(
        connection_id=found.connection_id,
        mpid=found.mpid,
        identity_type=identity_pb2.IdentityType.ValueType(found.kind),
        reason=found.reason,
        time_ms=found.time_ms,
    )


def state_of(number: pb.ConnectionState.ValueType) -> State | None:
    """The state that a request names; None: one that this version does not know."""
    return _STATES_BACK.get(number)


def cause(of: Cause) -> pb.FaultCause.ValueType:
    """The class of a fault."""
    return pb.FaultCause.ValueType(of.value)


def identity_type(kind: Kind) -> identity_pb2.IdentityType.ValueType:
    """The type of an identity."""
    return identity_pb2.IdentityType.ValueType(kind.value)


def _setting(line: Setting) -> pb.Setting:
    return pb.Setting(
        key=line.key,
        label=line.label,
        help=line.help,
        type=_TYPES[line.type],
        required=line.required,
        default_value=line.default,
        choices=line.choices,
    )


def partner_record(record: PartnerRecord) -> forwarder_service_pb2.PartnerRecord:
    """What a partner has of a person."""
    return forwarder_service_pb2.PartnerRecord(
        connection_id=record.connection_id,
        integration_key=record.integration_key,
        audience_id=record.audience_id,
        identities=[
            forwarder_service_pb2.PartnerIdentity(
                type=identity_pb2.IdentityType.ValueType(one.kind), encoding=one.encoding, value=one.value
            )
            for one in record.identities
        ],
        accept_time_ms=record.accept_time_ms,
        refusal=record.refusal,
    )
