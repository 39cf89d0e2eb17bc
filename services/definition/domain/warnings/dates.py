"""Fixed dates of events that the look-back leaves behind as time passes: what is counted becomes less by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from muster.definition.v1 import definition_pb2 as pb

from ..faults import Place, Reason
from ..nesting import children_of
from ..periods import Reach
from .times import first_day, is_past, last_day

_OF_EVENTS = ("event", "aggregate", "sequence")


def warn_of_dates(node: pb.Node, reach: Reach, place: Place) -> None:
    """Of the criteria at and below a node, which lies at `place`."""
    place = place.of_node(node.id)
    kind = node.WhichOneof("kind") or ""
    if kind == "criterion":
        of = node.criterion.WhichOneof("kind") or ""
        if of in _OF_EVENTS and (criterion := getattr(node.criterion, of)).HasField("when"):
            _warn(criterion.when, reach, place.at("criterion").at(of).at("when"))
        return
    for index, child in enumerate(children_of(node)):
        below = place.at(kind)
        warn_of_dates(child, reach, below.at("node") if kind == "exclude" else below.at("nodes", index))


def _warn(period: pb.Period, reach: Reach, place: Place) -> None:
    kind = period.WhichOneof("kind") or ""
    first, last = first_day(period), last_day(period)
    if (first is None and last is None) or is_past(period, reach):
        return
    kept = timedelta(days=reach.look_back_days)
    if first is not None:
        fades = first + kept
        begun = datetime(fades.year, fades.month, fades.day, tzinfo=UTC) < reach.now
        when = f"since {fades} (UTC)" if begun else f"from {fades} (UTC) on"
        what = f"events of {first} are older than {reach.words} {when} and no longer count"
    else:
        what = f"events leave {reach.words} every day and no longer count"
    end = "" if last is None else f"; from {last + kept + timedelta(days=1)} on none is left"
    place.at(kind).warn(
        Reason.DATES_OUTLIVE_LOOK_BACK,
        f"As time passes, {what}{end}: people leave, or come in where few events are asked for. Choose a window that moves with now if "
        "that is not meant.",
    )
