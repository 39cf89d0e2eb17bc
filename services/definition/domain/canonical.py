"""The canonical form of a definition: ids dropped, groups and lists sorted, defaults filled, unused operands left out.

Two definitions of one canonical form mean the same audience; so it says whether an edit changed anything, and which nodes are alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from google.protobuf.message import Message
from muster.definition.v1 import definition_pb2 as pb

from .nesting import children_of
from .periods import seconds_of
from .validation import LANGUAGE_VERSION, USER_CRITERIA
from .value_tests import COMPARISON_HAS_UPPER, STRING_OPERANDS, number_of

_COUNT_MAX = 2**32 - 1


def canonical(definition: pb.Definition, workspace_ids: Sequence[int] = ()) -> pb.Definition:
    """The canonical form. `workspace_ids` are the audience's: its only one is what a criterion that names none reads."""
    normal = with_workspace(definition, workspace_ids)
    normal.DiscardUnknownFields()
    _normalise(normal)
    return normal


def with_workspace(definition: pb.Definition, workspace_ids: Sequence[int]) -> pb.Definition:
    """A copy in which every criterion names the workspace that it reads, where the audience has only one."""
    filled = pb.Definition()
    filled.CopyFrom(definition)
    if len(set(workspace_ids)) == 1:
        _fill_workspace(filled.root, workspace_ids[0])
    return filled


def same(one: pb.Definition, one_workspaces: Sequence[int], other: pb.Definition, other_workspaces: Sequence[int]) -> bool:
    """Whether two definitions, each in its workspaces, mean the same."""
    return canonical(one, one_workspaces) == canonical(other, other_workspaces)


def keys_of(root: pb.Node) -> list[bytes]:
    """A key for each node at and below `root`, parents before their children and these in order: alike for nodes that mean the same."""
    keys: list[bytes] = []

    def visit(node: pb.Node) -> bytes:
        position = len(keys)
        keys.append(b"")
        kind = node.WhichOneof("kind") or ""
        if kind == "criterion":
            criterion = pb.Criterion()
            criterion.CopyFrom(node.criterion)
            _normalise(criterion)
            parts = [_bytes(criterion)]
        else:
            parts = sorted(visit(child) for child in children_of(node))
        keys[position] = hashlib.sha256(b"".join([kind.encode(), b"\0", *parts])).digest()
        return keys[position]

    visit(root)
    return keys


def _fill_workspace(node: pb.Node, workspace: int) -> None:
    if node.WhichOneof("kind") == "criterion" and node.criterion.workspace_id == 0:
        node.criterion.workspace_id = workspace
    for child in children_of(node):
        _fill_workspace(child, workspace)


def _normalise(message: Message) -> None:
    """From the leaves up, so that what is sorted is canonical already."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        for part in [value] if isinstance(value, Message) else value:
            _normalise(part)
    if (rule := RULES.get(message.DESCRIPTOR.name)) is not None:
        rule(message)


def _bytes(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _as_it_is(_: Message) -> None:
    """All that such a message says counts as it stands."""


def _definition(definition: pb.Definition) -> None:
    definition.language_version = definition.language_version or LANGUAGE_VERSION


def _node(node: pb.Node) -> None:
    node.id = ""


def _group(group: pb.Group) -> None:
    ordered = sorted(group.nodes, key=_bytes)
    copies = [_copy(node) for node in ordered]
    del group.nodes[:]
    group.nodes.extend(copies)


def _copy(node: pb.Node) -> pb.Node:
    copy = pb.Node()
    copy.CopyFrom(node)
    return copy


def _criterion(criterion: pb.Criterion) -> None:
    if criterion.WhichOneof("kind") not in USER_CRITERIA:
        criterion.workspace_id = 0


def _event(event: pb.EventCriterion) -> None:
    if not event.HasField("frequency"):
        event.frequency.comparison = pb.COMPARISON_GREATER


def _match(match: pb.EventMatch) -> None:
    filters = []
    for one in sorted(match.where, key=_bytes):
        copy = pb.Filter()
        copy.CopyFrom(one)
        filters.append(copy)
    del match.where[:]
    match.where.extend(filters)
    match.input_ids[:] = sorted(set(match.input_ids))


def _string(test: pb.StringTest) -> None:
    if STRING_OPERANDS.get(test.operator) == "values":
        test.value = ""
        test.values[:] = sorted(set(test.values))
    elif test.operator in STRING_OPERANDS:
        del test.values[:]


def _number(test: pb.NumberTest) -> None:
    if not COMPARISON_HAS_UPPER.get(test.comparison, True):
        test.upper = ""
    test.value, test.upper = _decimal_text(test.value), _decimal_text(test.upper)


def _decimal_text(text: str) -> str:
    number = number_of(text)
    if number is None:
        return text
    # One text for 19.9, 19.90 and +19.9; and no zero with a sign.
    return str(number.normalize() if number else Decimal(0))


def _frequency(test: pb.FrequencyTest) -> None:
    if not COMPARISON_HAS_UPPER.get(test.comparison, True):
        test.upper = 0


def _duration(duration: pb.Duration) -> None:
    seconds = seconds_of(duration)
    if seconds is not None and seconds <= _COUNT_MAX:
        duration.count, duration.unit = seconds, pb.DURATION_UNIT_SECOND


# Every message of definition.proto, by name; a test compares the names with the contract.
RULES: Mapping[str, Callable[..., None]] = {
    "Definition": _definition,
    "Node": _node,
    "Everyone": _as_it_is,
    "Group": _group,
    "Exclude": _as_it_is,
    "Criterion": _criterion,
    "EventCriterion": _event,
    "EventMatch": _match,
    "Filter": _as_it_is,
    "AggregateCriterion": _as_it_is,
    "SequenceCriterion": _as_it_is,
    "SequenceStep": _as_it_is,
    "NotFollowedBy": _as_it_is,
    "UserAttributeCriterion": _as_it_is,
    "IdentityCriterion": _as_it_is,
    "DeviceCriterion": _as_it_is,
    "SeenCriterion": _as_it_is,
    "LocationCriterion": _as_it_is,
    "PlaceTest": _as_it_is,
    "Near": _as_it_is,
    "ConsentCriterion": _as_it_is,
    "LifetimeValueCriterion": _as_it_is,
    "AttributionCriterion": _as_it_is,
    "MemberOfCriterion": _as_it_is,
    "ValueTest": _as_it_is,
    "StringTest": _string,
    "NumberTest": _number,
    "FrequencyTest": _frequency,
    "BooleanTest": _as_it_is,
    "DateTest": _as_it_is,
    "ListTest": _as_it_is,
    "PresenceTest": _as_it_is,
    "Period": _as_it_is,
    "Ago": _as_it_is,
    "DateRange": _as_it_is,
    "Duration": _duration,
}
