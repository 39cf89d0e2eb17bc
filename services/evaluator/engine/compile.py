"""From the contract's tree to what the engine evaluates."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from muster.definition.v1 import definition_pb2 as pb

from . import tree
from .compiling.aggregate import compile_aggregate
from .compiling.attribute import compile_user_attribute
from .compiling.common import ALWAYS, Refusal, Scope
from .compiling.event import compile_event
from .compiling.overrides import Types
from .compiling.person import (
    compile_attribution,
    compile_consent,
    compile_device,
    compile_identity,
    compile_lifetime_value,
    compile_location,
    compile_seen,
)
from .compiling.sequence import compile_sequence

# What is let in here bounds what one audience costs; the definition service refuses the same with all other faults at once.
DEPTH_MAX = 32
CRITERIA_MAX = 500
NODES_MAX = 2_000
BYTES_MAX = 512 * 1024

NO_OVERRIDES: Mapping[int, Types] = {}


class Unsupported(Exception):
    """A node that this version doesn't evaluate.

    `path` is its place in the tree, such as `root.all.nodes[1].exclude.node`; `node_id` its id, or empty.
    """

    def __init__(self, path: str, kind: str, node_id: str = "") -> None:
        super().__init__(f"{path}: {kind} is not evaluated by this version")
        self.path = path
        self.kind = kind
        self.node_id = node_id


class Malformed(ValueError):
    """A definition without a meaning, which its service lets nobody activate."""

    def __init__(self, path: str, problem: str, node_id: str = "") -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
        self.node_id = node_id


@dataclass(frozen=True)
class Compiled:
    """A definition ready for the engine. Immutable; equal ones mean the same."""

    root: tree.Node
    candidates: tree.Activity

    @property
    def members(self) -> tree.Node:
        """The tree of those who are in: candidates for whom the root is true."""
        return tree.Group(True, (tree.Leaf(self.candidates), self.root))

    @property
    def member_of(self) -> frozenset[int]:
        """The audiences whose members it reads: activate them first."""
        return frozenset(criterion.audience for criterion in tree.criteria_of(self.root) if isinstance(criterion, tree.MemberOf))


def compile_definition(
    definition: pb.Definition,
    *,
    workspaces: Mapping[int, Sequence[int]],
    workspace_ids: Collection[int],
    input_ids: Collection[int] = (),
    look_back_ms: int,
    types: Mapping[int, Types] = NO_OVERRIDES,
) -> Compiled:
    """`workspaces`: the inputs of each workspace of the account. `workspace_ids`: the audience's. `input_ids`: those that its event
    criteria read; empty: all inputs of the audience's workspaces. `types`: of attributes, by workspace. (Compile again when there is a new
    input or another type.) A window longer than the look-back is cut to it. Raises Unsupported or Malformed with the place of the node."""
    if (size := definition.ByteSize()) > BYTES_MAX:
        raise Malformed("root", f"the definition takes {size:,} bytes: shorten it to {BYTES_MAX:,} or fewer", definition.root.id)
    inputs = frozenset(input_ids) or frozenset(input_id for workspace in workspace_ids for input_id in workspaces.get(workspace, ()))
    workspace_of_input = {input_id: workspace for workspace, own in workspaces.items() for input_id in own}
    scope = Scope(frozenset(workspace_ids), inputs, look_back_ms, workspace_of_input, types)
    root = _Compiler(scope).node(definition.root, "root", 1)
    return Compiled(root, tree.Activity(frozenset(workspace_ids)))


@dataclass
class _Compiler:
    scope: Scope
    criteria: int = 0
    nodes: int = 0

    def node(self, node: pb.Node, path: str, depth: int) -> tree.Node:
        if depth > DEPTH_MAX:
            raise Malformed(path, f"the node lies deeper than {DEPTH_MAX} levels: flatten the groups", node.id)
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise Malformed(path, f"the definition has more than {NODES_MAX} nodes: split it into several audiences", node.id)
        kind = node.WhichOneof("kind")
        match kind:
            case "everyone":
                return replace(ALWAYS, id=node.id)
            case "all" | "any":
                nodes = node.all.nodes if kind == "all" else node.any.nodes
                if not nodes:
                    raise Malformed(path, "an empty group", node.id)
                parts = tuple(self.node(inner, f"{path}.{kind}.nodes[{i}]", depth + 1) for i, inner in enumerate(nodes))
                return tree.Group(kind == "all", parts, node.id)
            case "exclude":
                return tree.Not(self.node(node.exclude.node, f"{path}.exclude.node", depth + 1), node.id)
            case "criterion":
                self.criteria += 1
                if self.criteria > CRITERIA_MAX:
                    raise Malformed(path, f"the definition has more than {CRITERIA_MAX} criteria: split it into several audiences", node.id)
                try:
                    return replace(self._criterion(node.criterion), id=node.id)
                except Refusal as refusal:
                    raise (Unsupported if refusal.unsupported else Malformed)(path, refusal.words, node.id) from None
            case None:
                raise Unsupported(path, "an empty node, or one of an unknown kind,", node.id)

    def _criterion(self, criterion: pb.Criterion) -> tree.Leaf | tree.Group:
        match criterion.WhichOneof("kind"):
            case "event":
                return compile_event(criterion.event, self.scope)
            case "sequence":
                return compile_sequence(criterion.sequence, self.scope)
            case "user_attribute":
                return compile_user_attribute(criterion, self.scope)
            case "member_of":
                return tree.Leaf(tree.MemberOf(criterion.member_of.audience_id))
            case "identity":
                return compile_identity(criterion, self.scope)
            case "device":
                return compile_device(criterion, self.scope)
            case "seen":
                return compile_seen(criterion, self.scope)
            case "location":
                return compile_location(criterion, self.scope)
            case "consent":
                return compile_consent(criterion, self.scope)
            case "lifetime_value":
                return compile_lifetime_value(criterion, self.scope)
            case "attribution":
                return compile_attribution(criterion, self.scope)
            case "aggregate":
                return compile_aggregate(criterion.aggregate, self.scope)
            case None:
                raise Refusal("a criterion of no or an unknown kind", unsupported=True)
