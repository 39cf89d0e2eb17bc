"""Where nodes lie: the path of each one, as faults and phrases name it."""

from __future__ import annotations

from collections.abc import Iterator

from muster.definition.v1 import definition_pb2 as pb

from .nesting import children_of


def walk(definition: pb.Definition) -> Iterator[tuple[str, pb.Node, int]]:
    """Every node with its path (`definition.root.all.nodes[1]`) and how many nodes it lies in, parents before their children and these in
    order."""
    waiting = [("definition.root", definition.root, 0)] if definition.HasField("root") else []
    while waiting:
        path, node, depth = waiting.pop()
        yield path, node, depth
        kind = node.WhichOneof("kind")
        below = f"{path}.exclude.node" if kind == "exclude" else f"{path}.{kind}.nodes"
        children = [(below if kind == "exclude" else f"{below}[{at}]", child, depth + 1) for at, child in enumerate(children_of(node))]
        waiting += reversed(children)
