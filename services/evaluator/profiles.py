"""What arrives about people, as rows for the event store and as changes of the engine's columns.

User attributes, devices, attributions and consents are always in the engine. The rest (KEPT) is only while a definition in use reads it:
the engine takes it from the store then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from muster.ingest.v1 import facts_pb2

from services.evaluator.engine.engine import Engine
from services.evaluator.engine.facts import (
    EVERYWHERE,
    AttributeChange,
    Ordinals,
    Property,
    PropertyKind,
    Value,
    consent,
    property_of,
)
from services.evaluator.event_rows import GONE, HERE, PLACE, AttributeRow, attribute_of, value_of
from services.evaluator.event_store import EventStore
from services.evaluator.intake import Arrived, EventColumns
from services.evaluator.people import People
from services.evaluator.readings import LOCATION_MARK, amount_of, pays, point_of

KEPT = frozenset(
    {
        PropertyKind.IDENTITY,
        PropertyKind.FIRST_SEEN,
        PropertyKind.LAST_SEEN,
        PropertyKind.LOCATION,
        PropertyKind.LIFETIME_VALUE,
    }
)
_FIRST, _LAST = Property(PropertyKind.FIRST_SEEN), Property(PropertyKind.LAST_SEEN)
_LOCATION, _LIFETIME_VALUE = Property(PropertyKind.LOCATION), Property(PropertyKind.LIFETIME_VALUE)
_IDENTITY = PropertyKind.IDENTITY.value
_DEVICE_FIELDS = ("platform", "manufacturer", "model", "os_version", "carrier", "language", "country")


def rows_of(message: Arrived, change: facts_pb2.ProfileChange) -> list[AttributeRow]:
    """All that a change says, and at least that it was there."""
    time_ms = change.time_ms or message.receive_time_ms
    told: list[tuple[str, str, Value | None, int]] = [("", name, None, time_ms) for name in change.removed_attributes]
    told += [("", name, value_of(value), time_ms) for name, value in change.set_attributes.items()]
    if change.HasField("device"):
        device = PropertyKind.DEVICE.value
        told += [(device, field, getattr(change.device, field), time_ms) for field in _DEVICE_FIELDS if getattr(change.device, field)]
    if change.HasField("attribution"):  # as a whole: what it doesn't say is missing from now on
        attribution = PropertyKind.ATTRIBUTION.value
        told += [(attribution, field, getattr(change.attribution, field) or None, time_ms) for field in ("publisher", "campaign")]
    for state in change.consents:
        name = consent(state.regulation, state.purpose).name
        told.append((PropertyKind.CONSENT.value, name, state.consented, state.time_ms or time_ms))
    told += [(GONE, str(int(identity.type)), identity.value, time_ms) for identity in change.removed_identities]
    told += [(_IDENTITY, str(int(identity.type)), identity.value, time_ms) for identity in change.added_identities]
    if change.HasField("location"):
        place = {"location": {"latitude": change.location.latitude, "longitude": change.location.longitude}}
        told.append((PLACE, "", msgspec.json.encode(place).decode(), time_ms))
    if not any(time == time_ms for _, _, _, time in told):
        told.append((HERE, "", None, time_ms))
    return [
        AttributeRow(change.workspace_id, name, change.mpid, time, value, message.partition, message.sequence, kind)
        for kind, name, value, time in told
    ]


def told_again(rows: Sequence[AttributeRow], *, left_only: bool = True) -> list[facts_pb2.ProfileChange]:
    """The reverse: changes that say it all, in its order; of identities those that are left, at the end. With `left_only` false also of
    identities all that was told, in its order."""
    changes: list[facts_pb2.ProfileChange] = []
    identities: dict[tuple[int, str, str], AttributeRow] = {}
    for row in rows:
        attribution = row.kind == PropertyKind.ATTRIBUTION.value
        if not (attribution and row.attribute == "campaign"):  # a row of its own, which follows that of the publisher
            changes.append(facts_pb2.ProfileChange(mpid=row.mpid, workspace_id=row.workspace_id, time_ms=row.time_ms))
        change, text = changes[-1], str(row.value)
        match row.kind:
            case "" if row.value is not None:
                change.set_attributes[row.attribute].CopyFrom(attribute_of(row.value))
            case "":
                change.removed_attributes.append(row.attribute)
            case PropertyKind.DEVICE.value:
                setattr(change.device, row.attribute, text)
            case PropertyKind.ATTRIBUTION.value:
                change.attribution.SetInParent()
                setattr(change.attribution, row.attribute, "" if row.value is None else text)
            case PropertyKind.CONSENT.value:
                regulation, purpose = row.attribute.split("\n")
                change.consents.add(regulation=regulation, purpose=purpose, consented=bool(row.value), time_ms=row.time_ms)
            case PropertyKind.IDENTITY.value if left_only:
                identities[row.mpid, row.attribute, text] = row
            case kind if kind == GONE and left_only:
                identities.pop((row.mpid, row.attribute, text), None)
            case PropertyKind.IDENTITY.value:
                change.added_identities.add(type=int(row.attribute), value=text)
            case kind if kind == GONE:
                change.removed_identities.add(type=int(row.attribute), value=text)
            case kind if kind == PLACE:
                point = point_of(text)
                if point is not None:
                    change.location.latitude, change.location.longitude = point
    for row in identities.values():
        changes.append(facts_pb2.ProfileChange(mpid=row.mpid, workspace_id=row.workspace_id, time_ms=row.time_ms))
        changes[-1].added_identities.add(type=int(row.attribute), value=str(row.value))
    return changes


def changes_of(engine: Engine, events: EventColumns, at: Ordinals, rows: Sequence[tuple[int, AttributeRow]]) -> list[AttributeChange]:
    """What the engine has to know of it. `at`: whose event each is; `rows`: each with the ordinal of its person."""
    changes = list(_values(rows))
    identities = [(ordinal, row) for ordinal, row in rows if row.kind in (_IDENTITY, GONE)]
    changes += _identities(engine, identities)
    kept = [(workspace, property_) for workspace, property_ in engine.held() if property_.kind in KEPT]
    if not kept:
        return changes
    workspaces = np.array(events.workspaces, np.int64)[events.series_codes]
    for workspace, property_ in kept:
        own = np.flatnonzero(workspaces == workspace)
        match property_.kind:
            case PropertyKind.FIRST_SEEN | PropertyKind.LAST_SEEN:
                told = [(ordinal, row.time_ms) for ordinal, row in rows if row.workspace_id == workspace]
                ordinals = np.concatenate([at[own], np.array([ordinal for ordinal, _ in told], np.int64)])
                times = np.concatenate([events.times_ms[own], np.array([time for _, time in told], np.int64)])
                changes.append(AttributeChange(workspace, property_, ordinals, (), times))
            case PropertyKind.LOCATION:
                points = [(place, point_of(events.details[place])) for place in own.tolist() if LOCATION_MARK in events.details[place]]
                there = np.array([place for place, point in points if point is not None], np.int64)
                values = [point for _, point in points if point is not None]
                changes.append(AttributeChange(workspace, property_, at[there], values, events.times_ms[there]))
                for ordinal, row in rows:
                    if row.kind == PLACE and row.workspace_id == workspace:
                        place = [point_of(str(row.value))]
                        changes.append(AttributeChange(workspace, property_, np.array([ordinal]), place, np.array([row.time_ms])))
            case PropertyKind.LIFETIME_VALUE:
                paying = np.array([pays(series.type, series.name) for series in events.series], np.bool_)[events.series_codes[own]]
                own = own[paying]
                amounts = [amount_of(events.series[events.series_codes[place]].name, events.details[place]) for place in own.tolist()]
                changes.append(AttributeChange(workspace, property_, at[own], amounts, events.times_ms[own]))
    return [change for change in changes if len(change.ordinals)]


def load(engine: Engine, store: EventStore, people: People, account_id: int, workspace: int, property_: Property) -> None:
    """Let the engine have a property that it doesn't hold, with all that the store knows of it."""
    for mpids, values, times in _kept(store, account_id, workspace, property_, engine.now):
        ordinals = people.find(mpids)
        if property_.kind is PropertyKind.IDENTITY:
            ordinals, values, times = _sets(ordinals, values)
        engine.load_attributes(workspace, property_, ordinals, values, times)


Column = tuple[Ordinals, Sequence[Value | None], Ordinals]


def _kept(store: EventStore, account_id: int, workspace: int, property_: Property, now_ms: int) -> Iterator[Column]:
    yield np.empty(0, np.int64), (), np.empty(0, np.int64)  # held from now on, even if nobody has any
    match property_.kind:
        case PropertyKind.FIRST_SEEN | PropertyKind.LAST_SEEN:
            mpids, times = store.seen(account_id, workspace, now_ms, first=property_ == _FIRST)
            yield mpids, (), times
        case PropertyKind.LOCATION:
            mpids, details, times = store.places(account_id, workspace, now_ms)
            points = [point_of(text) for text in details]
            there = np.array([place for place, point in enumerate(points) if point is not None], np.int64)
            yield mpids[there], [point for point in points if point is not None], times[there]
        case PropertyKind.LIFETIME_VALUE:
            for mpids, names, texts, times in store.purchases(account_id, workspace):
                yield mpids, [amount_of(name, text) for name, text in zip(names, texts, strict=True)], times
        case PropertyKind.IDENTITY:
            mpids, identities = store.identities(account_id, property_.name)
            yield mpids, identities, np.zeros(len(mpids), np.int64)


def _sets(ordinals: Ordinals, told: Sequence[Value | None]) -> Column:
    """All identities of each person, from what was told of them one after the other: a text, or a list of one that is gone."""
    held: dict[int, dict[str, None]] = defaultdict(dict)
    for ordinal, value in zip(ordinals.tolist(), told, strict=True):
        if isinstance(value, str):
            held[ordinal][value] = None
        elif isinstance(value, tuple):
            held[ordinal].pop(str(value[0]), None)
    return np.array(list(held), np.int64), [tuple(of_one) or None for of_one in held.values()], np.zeros(len(held), np.int64)


def _values(rows: Sequence[tuple[int, AttributeRow]]) -> Iterator[AttributeChange]:
    columns: dict[tuple[int, str, str], list[tuple[int, Value | None, int]]] = defaultdict(list)
    for ordinal, row in rows:
        if row.kind not in (HERE, GONE, PLACE, _IDENTITY):
            columns[row.workspace_id, row.kind, row.attribute].append((ordinal, row.value, row.time_ms))
    for (workspace, kind, name), column in columns.items():
        ordinals, values, times = zip(*column, strict=True)
        property_ = Property(PropertyKind(kind), name) if kind else property_of(name)
        yield AttributeChange(workspace, property_, np.array(ordinals, np.int64), values, np.array(times, np.int64))


def _identities(engine: Engine, rows: Sequence[tuple[int, AttributeRow]]) -> Iterator[AttributeChange]:
    """The identities that people have after it, where the engine holds them."""
    held: dict[tuple[str, int], dict[str, None]] = {}
    known = {property_.name for _, property_ in engine.held() if property_.kind is PropertyKind.IDENTITY} if rows else set()
    for ordinal, row in rows:
        if row.attribute not in known:
            continue
        key = row.attribute, ordinal
        if key not in held:
            before = engine.value_of(EVERYWHERE, Property(PropertyKind.IDENTITY, row.attribute), ordinal)
            held[key] = dict.fromkeys(before) if isinstance(before, tuple) else {}
        if row.kind == GONE:
            held[key].pop(str(row.value), None)
        else:
            held[key][str(row.value)] = None
    for (name, ordinal), identities in held.items():
        property_ = Property(PropertyKind.IDENTITY, name)
        yield AttributeChange(EVERYWHERE, property_, np.array([ordinal]), [tuple(identities) or None], np.zeros(1, np.int64))
