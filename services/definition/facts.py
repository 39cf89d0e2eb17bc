"""Facts: what leaves on the stream DEFINITIONS after each change, the new state whole."""

from __future__ import annotations

from muster.definition.v1 import facts_pb2

from services.chassis.bus import Outgoing, headers_of
from services.chassis.streams import definitions_subject

from .domain.ab_tests import AbTest
from .domain.accounts import Account, Input, Workspace
from .domain.audiences import Audience
from .translation import ab_test_to_proto, account_to_proto, audience_to_proto, input_to_proto, workspace_to_proto

Thing = Account | Workspace | Input | Audience | AbTest


def fact_of(thing: Thing, *, now_ms: int) -> Outgoing:
    """The message of the newest state of a thing. Its id is made of kind, id and version, so that publishing again is noticed."""
    fact = facts_pb2.DefinitionFact(account_id=thing.account_id, version=thing.version, change_time_ms=now_ms)
    match thing:
        case Account():
            kind, thing_id = "account", thing.account_id
            fact.account.CopyFrom(account_to_proto(thing))
        case Workspace():
            kind, thing_id = "workspace", thing.workspace_id
            fact.workspace.CopyFrom(workspace_to_proto(thing))
        case Input():
            kind, thing_id = "input", thing.input_id
            fact.input.input.CopyFrom(input_to_proto(thing))
            fact.input.api_secret_sha256 = thing.api_secret_sha256
        case Audience():
            kind, thing_id = "audience", thing.audience_id
            fact.audience.CopyFrom(audience_to_proto(thing))
        case AbTest():
            kind, thing_id = "abtest", thing.ab_test_id
            fact.ab_test.CopyFrom(ab_test_to_proto(thing))
    return Outgoing(
        definitions_subject(thing.account_id, kind, thing_id),
        fact.SerializeToString(),
        f"{kind}/{thing_id}/{thing.version}",
        headers_of(thing.account_id),
    )
