"""A definition as one English sentence that says exactly what it means, and as a phrase for each node.

semantics: What an audience means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.message import Message
from muster.definition.v1 import definition_pb2 as pb

from ..paths import walk
from ..validation import USER_CRITERIA
from . import events, people
from .telling import Telling

_CASE = " Comparisons of texts do not tell upper from lower case; names by themselves are exact."


@dataclass(frozen=True, slots=True)
class Phrase:
    """What one node says. `depth` is how many nodes it lies in."""

    node_id: str
    path: str
    text: str
    depth: int


def sentence_of(definition: pb.Definition, telling: Telling) -> str:
    """The whole of a complete definition: `People who installed in the last 72 hours and had ...`."""
    text = f"People who {_node(definition.root, telling, outermost=True)}."
    return text + (_CASE if _compares_texts(definition) else "")


def text_of(node: pb.Node, telling: Telling) -> str:
    """What a node says with all that is in it, to be read after `People who`."""
    return _node(node, telling, outermost=True)


def phrases_of(definition: pb.Definition, telling: Telling) -> Iterator[Phrase]:
    """A phrase for each node, parents before their children and these in order."""
    for path, node, depth in walk(definition):
        kind = node.WhichOneof("kind") or ""
        text = _node(node, telling) if kind in ("everyone", "criterion") else JOINS[kind]
        yield Phrase(node.id, path, text, depth)


def _node(node: pb.Node, telling: Telling, *, outermost: bool = False) -> str:
    return NODES[node.WhichOneof("kind") or ""](node, telling, outermost)


def _group(group: pb.Group, kind: str, joined: str, telling: Telling, outermost: bool) -> str:
    if len(group.nodes) == 1:
        return f"({kind} of ({_node(group.nodes[0], telling, outermost=True)}))"
    text = f" {joined} ".join(_node(node, telling) for node in group.nodes)
    return text if outermost else f"({text})"


def _exclude(node: pb.Node, telling: Telling, outermost: bool) -> str:
    inner = node.exclude.node
    text = _node(inner, telling)
    if inner.WhichOneof("kind") == "criterion" and inner.criterion.WhichOneof("kind") == "member_of":
        return text.replace("are members", "are not members", 1)
    return f"are not among those who {text if text.startswith('(') else f'({text})'}"


def _criterion(node: pb.Node, telling: Telling, outermost: bool) -> str:
    criterion = node.criterion
    kind = criterion.WhichOneof("kind") or ""
    text = CRITERIA[kind](criterion, telling)
    if kind in USER_CRITERIA and criterion.workspace_id and set(telling.workspace_ids) != {criterion.workspace_id}:
        text += f", in workspace {criterion.workspace_id}"
    return text


def _compares_texts(message: Message) -> bool:
    if isinstance(message, pb.StringTest | pb.ListTest | pb.PlaceTest | pb.ConsentCriterion):
        return True
    parts = [value for descriptor, value in message.ListFields() if descriptor.message_type is not None]
    return any(_compares_texts(one) for part in parts for one in ([part] if isinstance(part, Message) else part))


# Every kind of the contract; a test compares them with it.
JOINS: Mapping[str, str] = {"all": "all of these:", "any": "any of these:", "exclude": "are not among those who:"}
NODES: Mapping[str, Callable[[pb.Node, Telling, bool], str]] = {
    "everyone": lambda node, telling, outermost: "have any activity",
    "all": lambda node, telling, outermost: _group(node.all, "all", "and", telling, outermost),
    "any": lambda node, telling, outermost: _group(node.any, "any", "or", telling, outermost),
    "exclude": _exclude,
    "criterion": _criterion,
}
CRITERIA: Mapping[str, Callable[[pb.Criterion, Telling], str]] = {
    "event": events.event,
    "aggregate": events.aggregate,
    "sequence": events.sequence,
    "user_attribute": people.user_attribute,
    "identity": people.identity,
    "device": people.device,
    "seen": people.seen,
    "location": people.location,
    "consent": people.consent,
    "lifetime_value": people.lifetime_value,
    "attribution": people.attribution,
    "member_of": people.member_of,
}
