"""Is a definition complete, so that it can be said in words? Nothing is asked of the account: whatever it names may exist."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.message import Message
from muster.definition.v1 import definition_pb2 as pb

from .faults import Reason, Verdict
from .nesting import nodes_of, used_by
from .periods import LONGEST_YEARS
from .validation import OtherAudience, Surroundings, is_too_large, judge

# What can be said all the same.
_SAYABLE = frozenset({Reason.NOT_EVALUATED_YET, Reason.WORKSPACE_NEEDED})
# Time matters for warnings only.
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
# A workspace for what names none; no workspace has this number.
_ANY = -(2**63)


def incomplete(definition: pb.Definition) -> Verdict:
    """The faults that a definition has in any account. Never raises."""
    around = _around({_ANY}, pb.Definition()) if is_too_large(definition) else _around(_workspaces_of(definition), definition)
    faults = judge(definition, around, _ANY_TIME).faults
    return Verdict(tuple(fault for fault in faults if fault.reason not in _SAYABLE))


def _around(workspaces: set[int], definition: pb.Definition) -> Surroundings:
    """An account in which there is all that a definition names."""
    return Surroundings(
        look_back_days=LONGEST_YEARS * 365,
        workspaces=frozenset(workspaces),
        inputs=dict.fromkeys(_inputs_of(definition), min(workspaces)),
        audiences={audience: OtherAudience("", True, frozenset()) for audience in used_by(definition)},
        workspace_ids=tuple(workspaces),
    )


def _workspaces_of(definition: pb.Definition) -> set[int]:
    return {node.criterion.workspace_id for node in nodes_of(definition)} - {0} or {_ANY}


def _inputs_of(message: Message) -> set[int]:
    """The inputs that are named anywhere below a message."""
    if isinstance(message, pb.EventMatch):
        return set(message.input_ids)
    found = set[int]()
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                found |= _inputs_of(part)
    return found
