"""Names that a definition uses and the catalogue does not know, or that people have deprecated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from muster.definition.v1 import definition_pb2 as pb

from ..catalogue import CatalogueKind
from ..faults import Place, Reason
from ..nesting import children_of
from ..texts import folded
from ..validation import UNNAMED_EVENTS, Surroundings

SUGGESTIONS_MAX = 20
"""For so many unknown names the nearest known one is looked for."""
CANDIDATES_MAX = 1_000
"""Among so many known ones, the most frequent."""
_NEAR = 0.6
_SHOWN_MAX = 100


@dataclass(frozen=True, slots=True)
class Used:
    """A name in a definition: whose data it is looked for in, and the events that it comes with; `event_name` None: any, `type` 0: none."""

    kind: CatalogueKind
    name: str
    workspace_ids: frozenset[int]
    input_ids: frozenset[int] = frozenset()  # empty: all of the workspaces
    type: int = 0
    event_name: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalogue says of the names used: which have arrived, which are deprecated (with the note), and for those that have not what
    else has. `complete`: of each kind, whether it lists all that came; where it does not, or nothing came at all, none is unknown."""

    arrived: frozenset[Used] = frozenset()
    deprecated: Mapping[Used, str] = field(default_factory=dict)
    candidates: Mapping[Used, Sequence[str]] = field(default_factory=dict)
    complete: frozenset[CatalogueKind] = frozenset()


def names_in(definition: pb.Definition, around: Surroundings, place: Place) -> list[tuple[Used, Place]]:
    """Every name that a definition without faults uses, with its place."""
    return list(_in_node(definition.root, around, place.at("root")))


def warn_of_names(used: Collection[tuple[Used, Place]], known: Known) -> None:
    """Attributes of events that are unknown themselves are passed over."""
    unknown_events = {(one.type, one.name) for one, _ in used if one.kind is CatalogueKind.EVENT_NAME and _is_unknown(one, known)}
    suggested = 0
    for one, place in used:
        if one in known.deprecated:
            note = known.deprecated[one]
            place.warn(
                Reason.DEPRECATED_NAME, f"{_words(one)} is deprecated{f': {note}' if note else '; choose another one'}".rstrip(".") + "."
            )
        elif _is_unknown(one, known) and (one.event_name is None or (one.type, one.event_name) not in unknown_events):
            near = _nearest(one.name, known.candidates.get(one, ())) if suggested < SUGGESTIONS_MAX else None
            suggested += 1
            hint = f"; the nearest that has is {near!r}" if near else ""
            place.warn(Reason.UNKNOWN_NAME, f"{_words(one)} has not arrived so far in the workspaces and inputs that are read{hint}.")


def _is_unknown(one: Used, known: Known) -> bool:
    return one.kind in known.complete and one not in known.arrived


def _words(one: Used) -> str:
    what = {
        CatalogueKind.EVENT_NAME: "An event named",
        CatalogueKind.USER_ATTRIBUTE: "The user attribute",
        CatalogueKind.EVENT_ATTRIBUTE: "The event attribute",
        CatalogueKind.PRODUCT_ATTRIBUTE: "The product attribute",
    }[one.kind]
    name = one.name if len(one.name) <= _SHOWN_MAX else f"{one.name[:_SHOWN_MAX]}..."
    of = f" of {one.event_name!r}" if one.event_name else ""
    return f"{what} {name!r}{of}"


def _nearest(name: str, candidates: Sequence[str]) -> str | None:
    """One that differs in case alone before any other."""
    by_fold = {folded(one): one for one in reversed(candidates)}
    asked = folded(name)
    if asked in by_fold:
        return by_fold[asked]
    found = get_close_matches(asked, list(by_fold), n=1, cutoff=_NEAR)
    return by_fold[found[0]] if found else None


# --- what a definition uses


def _in_node(node: pb.Node, around: Surroundings, place: Place) -> Iterator[tuple[Used, Place]]:
    place = place.of_node(node.id)
    kind = node.WhichOneof("kind") or ""
    if kind == "criterion":
        of = node.criterion.WhichOneof("kind") or ""
        yield from CRITERIA[of](node.criterion, around, place.at("criterion").at(of))
        return
    for index, child in enumerate(children_of(node)):
        below = place.at(kind)
        yield from _in_node(child, around, below.at("node") if kind == "exclude" else below.at("nodes", index))


def _in_event(criterion: pb.Criterion, around: Surroundings, place: Place) -> Iterator[tuple[Used, Place]]:
    yield from _in_match(criterion.event.match, around, place.at("match"))


def _in_aggregate(criterion: pb.Criterion, around: Surroundings, place: Place) -> Iterator[tuple[Used, Place]]:
    aggregate = criterion.aggregate
    yield from _in_match(aggregate.match, around, place.at("match"))
    if aggregate.WhichOneof("subject") == "attribute":
        yield _of_match(aggregate.match, around, CatalogueKind.EVENT_ATTRIBUTE, aggregate.attribute), place.at("attribute")


def _in_sequence(criterion: pb.Criterion, around: Surroundings, place: Place) -> Iterator[tuple[Used, Place]]:
    sequence = criterion.sequence
    for index, step in enumerate(sequence.steps):
        yield from _in_match(step.match, around, place.at("steps", index).at("match"))
    if sequence.HasField("not_followed_by"):
        yield from _in_match(sequence.not_followed_by.match, around, place.at("not_followed_by").at("match"))


def _in_attribute(criterion: pb.Criterion, around: Surroundings, place: Place) -> Iterator[tuple[Used, Place]]:
    workspaces = frozenset([criterion.workspace_id] if criterion.workspace_id else around.workspace_ids)
    yield Used(CatalogueKind.USER_ATTRIBUTE, criterion.user_attribute.attribute, workspaces), place.at("attribute")


def _nothing(criterion: pb.Criterion, around: Surroundings, place: Place) -> Iterator[tuple[Used, Place]]:
    """It names nothing that the catalogue holds."""
    return iter(())


def _in_match(match: pb.EventMatch, around: Surroundings, place: Place) -> Iterator[tuple[Used, Place]]:
    if match.WhichOneof("name_match") == "name":
        yield _of_match(match, around, CatalogueKind.EVENT_NAME, match.name), place.at("name")
    for index, one in enumerate(match.where):
        at = place.at("where", index)
        match one.WhichOneof("subject"):
            case "attribute":
                yield _of_match(match, around, CatalogueKind.EVENT_ATTRIBUTE, one.attribute), at.at("attribute")
            case "product_attribute":
                yield _of_match(match, around, CatalogueKind.PRODUCT_ATTRIBUTE, one.product_attribute), at.at("product_attribute")


def _of_match(match: pb.EventMatch, around: Surroundings, kind: CatalogueKind, name: str) -> Used:
    named = match.WhichOneof("name_match") == "name" or match.type in UNNAMED_EVENTS
    return Used(
        kind,
        name,
        frozenset(around.workspace_ids),
        frozenset(match.input_ids or around.input_ids),
        int(match.type),
        match.name if named and kind is not CatalogueKind.EVENT_NAME else None,
    )


CRITERIA: Mapping[str, Callable[[pb.Criterion, Surroundings, Place], Iterator[tuple[Used, Place]]]] = {
    "event": _in_event,
    "aggregate": _in_aggregate,
    "sequence": _in_sequence,
    "user_attribute": _in_attribute,
    "identity": _nothing,
    "device": _nothing,
    "seen": _nothing,
    "location": _nothing,
    "consent": _nothing,
    "lifetime_value": _nothing,
    "attribution": _nothing,
    "member_of": _nothing,
}
