"""Facts: what leaves on the stream DEFINITIONS after each change, the new state whole."""

from __future__ import annotations

from google.protobuf.message import Message
from muster.definition.v1 import facts_pb2

from services.chassis.audit import Change, json_of
from services.chassis.bus import Outgoing, headers_of
from services.chassis.streams import definitions_subject

from .domain.ab_tests import AbTest
from .domain.accounts import Account, Input, Workspace
from .domain.audiences import Audience
from .domain.catalogue import Entry
from .translation import ab_test_to_proto, account_to_proto, audience_to_proto, entry_to_proto, input_to_proto, workspace_to_proto

# Of the fact, where it is not the kind itself.
_FIELDS = {"abtest": "ab_test"}

Thing = Account | Workspace | Input | Audience | AbTest


def change_of(before: Thing | None, after: Thing) -> Change:
    """What the audit log keeps of a change: both states whole, as facts have them, without the digest of a secret."""
    kind, thing_id, state = _state_of(after)
    return Change(kind, thing_id, None if before is None else json_of(_state_of(before)[2]), json_of(state))


def change_of_entry(before: Entry, after: Entry) -> Change:
    """What the audit log keeps of what somebody said of a name, under the number of the workspace."""
    said = None if before.version == 0 else json_of(entry_to_proto(before))
    return Change("catalogue", after.key.workspace_id, said, json_of(entry_to_proto(after)))


def _state_of(thing: Thing) -> tuple[str, int, Message]:
    match thing:
        case Account():
            return "account", thing.account_id, account_to_proto(thing)
        case Workspace():
            return "workspace", thing.workspace_id, workspace_to_proto(thing)
        case Input():
            return "input", thing.input_id, input_to_proto(thing)
        case Audience():
            return "audience", thing.audience_id, audience_to_proto(thing)
        case AbTest():
            return "abtest", thing.ab_test_id, ab_test_to_proto(thing)


def fact_of(thing: Thing, *, now_ms: int) -> Outgoing:
    """The message of the newest state of a thing. Its id is made of kind, id and version, so that publishing again is noticed."""
    fact = facts_pb2.DefinitionFact(account_id=thing.account_id, version=thing.version, change_time_ms=now_ms)
    kind, thing_id, state = _state_of(thing)
    if isinstance(thing, Input):
        fact.input.input.CopyFrom(input_to_proto(thing))
        fact.input.api_secret_sha256 = thing.api_secret_sha256
    else:
        getattr(fact, _FIELDS.get(kind, kind)).CopyFrom(state)
    return Outgoing(
        definitions_subject(thing.account_id, kind, thing_id),
        fact.SerializeToString(),
        f"{kind}/{thing_id}/{thing.version}",
        headers_of(thing.account_id),
    )
