"""Ids of nodes: stable inside a definition, so that errors, estimates, explanations and differences can point at a node."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable

from muster.definition.v1 import definition_pb2 as pb

from .canonical import keys_of
from .nesting import nodes_of

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # no letter that is mistaken for a digit
_LENGTH = 6


def new_id() -> str:
    """A short random id."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def with_ids(definition: pb.Definition, previous: pb.Definition | None = None, fresh: Callable[[], str] = new_id) -> pb.Definition:
    """The definition with an id in every node. Ids that are there stay; a node without one takes that of a node of `previous` which means
    the same, so that a definition which is saved again from a text keeps its ids; the others get new ones."""
    filled = pb.Definition()
    filled.CopyFrom(definition)
    nodes = list(nodes_of(filled))
    taken = {node.id for node in nodes if node.id}
    if all(node.id for node in nodes):
        return filled
    known: defaultdict[bytes, list[str]] = defaultdict(list)
    if previous is not None and previous.HasField("root"):
        for node, key in zip(nodes_of(previous), keys_of(previous.root), strict=True):
            if node.id not in taken:
                known[key].append(node.id)
    for node, key in zip(nodes, keys_of(filled.root), strict=True):
        if not node.id:
            node.id = known[key].pop(0) if known[key] else _free(taken, fresh)
            taken.add(node.id)
    return filled


def _free(taken: set[str], fresh: Callable[[], str]) -> str:
    while (node_id := fresh()) in taken:
        continue
    return node_id
