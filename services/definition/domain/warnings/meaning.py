"""What nobody or everybody meets: contradictions and tautologies, told where they arise and, if they decide it, at the root.

Sound and not complete: what is told is so for all people and from now on for ever, and not all that is so is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from muster.definition.v1 import definition_pb2 as pb

from ..canonical import keys_of
from ..faults import Place, Reason
from ..nesting import children_of
from .literals import Literal, Reader, by_key, contradict, exhaust

_PAIRS_OF = 12


@dataclass(frozen=True, slots=True)
class Meaning:
    """Of a node: True for everybody, False for nobody, None for whoever it is. `told`: a warning at or below it says so."""

    truth: bool | None = None
    told: bool = False


def warn_of_meaning(definition: pb.Definition, reader: Reader, place: Place) -> None:
    """Of a definition without faults."""
    at = place.at("root").of_node(definition.root.id)
    warnings = place.findings.warnings
    before = len(warnings)
    found = _meaning(definition.root, reader, at)
    told = {warning.field for warning in warnings[before:] if warning.reason in (Reason.NOBODY_MEETS, Reason.EVERYONE_MEETS)}
    if found.truth is None or at.path in told or any(path == f"{at.path}.{kind}" for path in told for kind in NODES):
        return
    if found.truth and definition.root.WhichOneof("kind") != "everyone":
        at.warn(
            Reason.EVERYONE_MEETS, "Everyone who can be in this audience is in it, for the reasons below; say `everyone` if that is meant."
        )
    elif not found.truth:
        at.warn(Reason.NOBODY_MEETS, "Nobody can be in this audience, for the reasons below.")


def _meaning(node: pb.Node, reader: Reader, place: Place) -> Meaning:
    kind = node.WhichOneof("kind") or ""
    return NODES[kind](node, reader, place.at(kind))


def _everyone(node: pb.Node, reader: Reader, place: Place) -> Meaning:
    """It says so itself."""
    return Meaning(True)


def _criterion(node: pb.Node, reader: Reader, place: Place) -> Meaning:
    literal = reader.literal(node.criterion)
    if contradict([literal]):
        place.warn(Reason.NOBODY_MEETS, "Nobody can ever meet this: no count, value or time passes its test. Change it, or remove it.")
        return Meaning(False, True)
    if exhaust([literal]):
        place.warn(Reason.EVERYONE_MEETS, "Everyone meets this, whatever happens: its test passes always. Change it, or remove it.")
        return Meaning(True, True)
    return Meaning()


def _exclude(node: pb.Node, reader: Reader, place: Place) -> Meaning:
    inner = _meaning(node.exclude.node, reader, place.at("node").of_node(node.exclude.node.id))
    if inner.truth and not inner.told:
        place.warn(Reason.NOBODY_MEETS, "Nobody meets this: everyone is excluded.")
        return Meaning(False, True)
    return Meaning(None if inner.truth is None else not inner.truth, inner.told)


def _all(node: pb.Node, reader: Reader, place: Place) -> Meaning:
    parts = _parts(node.all, reader, place)
    if any(part.truth is False for part in parts):
        return Meaning(False, True)
    if all(part.truth for part in parts):
        return Meaning(True, any(part.told for part in parts))
    if (pair := _opposites(node.all.nodes) or _clash(_all_of(node, reader, ""), contradict)) is not None:
        place.warn(
            Reason.NOBODY_MEETS, f"Nobody can meet all of these: {_names(pair)} exclude each other. Change one of them, or say `any`."
        )
        return Meaning(False, True)
    return Meaning()


def _any(node: pb.Node, reader: Reader, place: Place) -> Meaning:
    parts = _parts(node.any, reader, place)
    if any(part.truth and part.told for part in parts):
        return Meaning(True, True)
    if any(part.truth for part in parts):
        if len(parts) > 1:
            place.warn(Reason.EVERYONE_MEETS, "Everyone meets one of these, as one of them is `everyone`: the others decide nothing.")
        return Meaning(True, len(parts) > 1)
    if all(part.truth is False for part in parts):
        return Meaning(False, True)
    if (pair := _opposites(node.any.nodes) or _clash(_any_of(node, reader, ""), exhaust)) is not None:
        place.warn(
            Reason.EVERYONE_MEETS,
            f"Everyone meets one of these: where one of {_names(pair)} fails, another holds. Change one, or say `all`.",
        )
        return Meaning(True, True)
    return Meaning()


def _parts(group: pb.Group, reader: Reader, place: Place) -> list[Meaning]:
    return [_meaning(node, reader, place.at("nodes", index).of_node(node.id)) for index, node in enumerate(group.nodes)]


def _opposites(nodes: Sequence[pb.Node]) -> list[str] | None:
    """The paths of a node and of one that excludes the same."""
    excluded = {keys_of(node.exclude.node)[0]: index for index, node in enumerate(nodes) if node.HasField("exclude")}
    if not excluded:
        return None
    for index, node in enumerate(nodes):
        other = excluded.get(keys_of(node)[0])
        if other is not None:
            return [f"nodes[{index}]", f"nodes[{other}]"]
    return None


def _clash(literals: Iterator[tuple[Literal, str]], is_so: Callable[[Sequence[Literal]], bool]) -> list[str] | None:
    """The paths of criteria of one thing of which it is so: two of them if that is enough."""
    for group in by_key(literals):
        if len(group) > 1 and is_so([literal for literal, _ in group]):
            pairs = combinations(group[:_PAIRS_OF], 2)
            found = next((pair for pair in pairs if is_so([literal for literal, _ in pair])), group)
            return [path for _, path in found]
    return None


def _all_of(node: pb.Node, reader: Reader, path: str) -> Iterator[tuple[Literal, str]]:
    """What all who meet the node meet, each with its path from the group on."""
    yield from _gather(node, reader, path, through="all", negated=False)


def _any_of(node: pb.Node, reader: Reader, path: str) -> Iterator[tuple[Literal, str]]:
    """By each of which one meets the node."""
    yield from _gather(node, reader, path, through="any", negated=False)


def _gather(node: pb.Node, reader: Reader, path: str, *, through: str, negated: bool) -> Iterator[tuple[Literal, str]]:
    """Who is not in one of several is in none of them: under an exclusion, `any` is as `all`."""
    kind = node.WhichOneof("kind") or ""
    if kind == "criterion":
        literal = reader.literal(node.criterion)
        yield (literal.negated if negated else literal), path
    elif kind == "exclude":
        yield from _gather(node.exclude.node, reader, f"{path}.exclude.node", through=through, negated=not negated)
    elif kind in ("all", "any") and (kind == through) != negated:
        for index, child in enumerate(children_of(node)):
            yield from _gather(
                child, reader, f"{path}.{kind}.nodes[{index}]" if path else f"nodes[{index}]", through=through, negated=negated
            )


def _names(paths: Sequence[str]) -> str:
    shown = [f"`{path}`" for path in paths[:5]]
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if not more else f"{', '.join(shown)}{more}"


NODES: Mapping[str, Callable[[pb.Node, Reader, Place], Meaning]] = {
    "everyone": _everyone,
    "all": _all,
    "any": _any,
    "exclude": _exclude,
    "criterion": _criterion,
}
