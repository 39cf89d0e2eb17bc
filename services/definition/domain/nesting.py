"""Audiences that use each other: who is used, and the way back that makes a cycle (semantics: Nested audiences)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from muster.definition.v1 import definition_pb2 as pb


def nodes_of(definition: pb.Definition) -> Iterator[pb.Node]:
    """Every node of a tree, from the root on, parents before their children and these in order."""
    waiting = [definition.root] if definition.HasField("root") else []
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(children_of(node))


def children_of(node: pb.Node) -> list[pb.Node]:
    """The nodes right below a node."""
    kind = node.WhichOneof("kind")
    if kind == "all":
        return list(node.all.nodes)
    if kind == "any":
        return list(node.any.nodes)
    if kind == "exclude" and node.exclude.HasField("node"):
        return [node.exclude.node]
    return []


def used_by(definition: pb.Definition) -> frozenset[int]:
    """The ids of the audiences whose members a definition reads."""
    return frozenset(
        node.criterion.member_of.audience_id
        for node in nodes_of(definition)
        if node.WhichOneof("kind") == "criterion" and node.criterion.WhichOneof("kind") == "member_of"
    )


def path_back(start: int, first: int, uses: Mapping[int, Set[int]]) -> list[int]:
    """The shortest way from `start` over `first`, which it wants to use, back to `start`; empty when there is none."""
    if first == start:
        return [start, start]
    came_from = {first: start}
    waiting = [first]
    for audience in waiting:
        for used in sorted(uses.get(audience, frozenset())):
            if used == start:
                way = [start]
                while audience != start:
                    way.append(audience)
                    audience = came_from[audience]
                return [start, *reversed(way)]
            if used not in came_from:
                came_from[used] = audience
                waiting.append(used)
    return []
