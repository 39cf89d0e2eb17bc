"""`muster catalogue`: what names there are in the data of a workspace, and what people say of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from muster.definition.v1 import account_pb2
from muster.definition.v1 import catalogue_service_pb2 as pb
from muster.ingest.v1.event_type_pb2 import EVENT_TYPE_CUSTOM, EventType

from cli.client import Muster
from cli.faults import bad_input
from cli.output import AccountOption, JsonOption, as_dict, count, fields, note, print_json, table, when, word
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="What names there are in the data of a workspace: events, attributes, values.")

_TYPES = {word(name, "EVENT_TYPE_").replace(" ", "-"): number for name, number in EventType.items() if number}
_KINDS = {
    "user": pb.CATALOGUE_KIND_USER_ATTRIBUTE,
    "event": pb.CATALOGUE_KIND_EVENT_ATTRIBUTE,
    "product": pb.CATALOGUE_KIND_PRODUCT_ATTRIBUTE,
}

WorkspaceArgument = Annotated[int, typer.Argument(min=1, help="The number of the workspace.")]
SearchOption = Annotated[str, typer.Option(help="The beginning of it, or any part, in any case.")]
InputOption = Annotated[int, typer.Option("--input", min=0, help="What came from this input only.")]
LimitOption = Annotated[int, typer.Option(min=1, help="At most so many.")]
TypeOption = Annotated[str, typer.Option("--type", help=f"A type of events: {', '.join(_TYPES)}.")]
EventOption = Annotated[str, typer.Option("--event", help="With events of this name only; of the type custom, unless --type says another.")]
OfOption = Annotated[str, typer.Option("--of", help=f"Whose attributes: {', '.join(_KINDS)}.")]


@app.command("events")
def events(
    workspace: WorkspaceArgument,
    search: SearchOption = "",
    type_: TypeOption = "",
    input_id: InputOption = 0,
    limit: LimitOption = 100,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the names of events, the most frequent first."""
    request = pb.ListEventNamesRequest(workspace_id=workspace, input_id=input_id, event_type=_type(type_), search=search)
    with Muster(Settings.load(), account) as muster:
        pages = muster.pages(muster.catalogue.ListEventNames, request, service="definition")
        coverage, found = pb.Coverage(), list[pb.EventName]()
        for page in pages:
            coverage = page.coverage
            found += page.event_names
            if len(found) >= limit:
                break
    if as_json:
        print_json({"event_names": [as_dict(one) for one in found[:limit]], "coverage": as_dict(coverage)})
        return
    rows = [
        (one.name, word(EventType.Name(one.event_type), "EVENT_TYPE_"), *_seen(one.sightings), _said(one.entry)) for one in found[:limit]
    ]
    table(["event", "type", "count", "first seen", "last seen", "what it is"], rows, right=["count"], empty="No events have arrived yet.")
    if coverage.unlisted_events:
        note(f"{count(coverage.unlisted_events)} events came under names beyond the 10,000 that are kept.")


@app.command("attributes")
def attributes(
    workspace: WorkspaceArgument,
    of: OfOption = "",
    event: EventOption = "",
    type_: TypeOption = "",
    search: SearchOption = "",
    input_id: InputOption = 0,
    limit: LimitOption = 100,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the attributes of events and products, or with `--of user` of people, the most frequent first."""
    kind = _kind(of)
    with Muster(Settings.load(), account) as muster:
        if kind == pb.CATALOGUE_KIND_USER_ATTRIBUTE:
            if event or type_:
                raise bad_input("Attributes of users come with no events: leave --event and --type out.")
            asked = pb.ListUserAttributesRequest(workspace_id=workspace, input_id=input_id, search=search)
            pages = muster.pages(muster.catalogue.ListUserAttributes, asked, service="definition")
        else:
            request = pb.ListEventAttributesRequest(
                workspace_id=workspace, input_id=input_id, event_type=_type(type_, event), event_name=event, kind=kind, search=search
            )
            pages = muster.pages(muster.catalogue.ListEventAttributes, request, service="definition")
        coverage, found = pb.Coverage(), list[pb.CatalogueAttribute]()
        for page in pages:
            coverage = page.coverage
            found += page.attributes
            if len(found) >= limit:
                break
    if as_json:
        print_json({"attributes": [as_dict(one) for one in found[:limit]], "coverage": as_dict(coverage)})
        return
    rows = [(one.name, _kind_of(one.kind), _types(one), *_seen(one.sightings), _said(one.entry)) for one in found[:limit]]
    columns = ["attribute", "of", "type", "count", "first seen", "last seen", "what it is"]
    table(columns, rows, right=["count"], empty="No such attributes have arrived yet.")
    if coverage.unlisted_attributes:
        note(f"{count(coverage.unlisted_attributes)} values came under attributes beyond the 10,000 that are kept.")


@app.command("values")
def values(
    workspace: WorkspaceArgument,
    attribute: Annotated[str, typer.Argument(help="The exact name of the attribute.")],
    of: OfOption = "event",
    event: EventOption = "",
    type_: TypeOption = "",
    search: SearchOption = "",
    input_id: InputOption = 0,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the values of an attribute that several people share, the most frequent first."""
    request = pb.ListAttributeValuesRequest(
        workspace_id=workspace,
        input_id=input_id,
        kind=_kind(of),
        attribute=attribute,
        event_type=_type(type_, event),
        event_name=event,
        search=search,
    )
    with Muster(Settings.load(), account) as muster:
        answer = muster.call(muster.catalogue.ListAttributeValues, request, service="definition")
    if as_json:
        print_json(as_dict(answer))
        return
    withheld = answer.state == pb.VALUES_STATE_WITHHELD
    empty = "Withheld: nearly everybody has a value of their own." if withheld else "No values that several people share."
    rows = [(one.value, count(one.count), count(one.error) if one.error else "") for one in answer.values]
    table(["value", "count", "too high by at most"], rows, right=["count", "too high by at most"], empty=empty)
    note(f"About {count(answer.different_values)} different values.")


@app.command("describe")
def describe(
    workspace: WorkspaceArgument,
    name: Annotated[str, typer.Argument(help="The exact name: of an event, or with --of of an attribute.")],
    of: OfOption = "",
    type_: TypeOption = "",
    description: Annotated[str | None, typer.Option(help="What it is, at most 2,000 characters; '' for nothing.")] = None,
    deprecated: Annotated[
        bool | None, typer.Option("--deprecated/--not-deprecated", help="Whether it should be used in definitions no longer.")
    ] = None,
    deprecation_note: Annotated[str | None, typer.Option("--note", help="Why, and what to use instead.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a name is for, or that it is deprecated; without options, show what was said."""
    if of and type_:
        raise bad_input("An attribute is the same with all events: leave --type out.")
    kind = _kind(of) or pb.CATALOGUE_KIND_EVENT_NAME
    key = pb.GetCatalogueEntryRequest(workspace_id=workspace, kind=kind, name=name)
    if not of:
        key.event_type = _type(type_, name)
    given = {"description": description, "deprecated": deprecated, "deprecation_note": deprecation_note}
    said = {field: value for field, value in given.items() if value is not None}
    with Muster(Settings.load(), account) as muster:
        entry = muster.call(muster.catalogue.GetCatalogueEntry, key, service="definition")
        if said:
            for field, value in said.items():
                setattr(entry, field, value)
            request = pb.UpdateCatalogueEntryRequest(entry=entry, update_mask=FieldMask(paths=list(said)))
            entry = muster.call(muster.catalogue.UpdateCatalogueEntry, request, service="definition")
    if as_json:
        print_json(as_dict(entry))
        return
    fields(
        [
            ("name", entry.name),
            ("description", entry.description),
            ("deprecated", ("yes: " + entry.deprecation_note).removesuffix(": ") if entry.deprecated else ""),
            ("said by", entry.updated_by),
            ("at", when(entry.update_time_ms)),
        ]
    )


def _type(name: str, event: str = "") -> EventType.ValueType:
    """Where an event is named without a type, it is a custom one."""
    if not name:
        return EVENT_TYPE_CUSTOM if event else EventType.ValueType(0)
    if name not in _TYPES:
        raise bad_input(f"There is no type of events {name!r}.", hint=f"There are: {', '.join(_TYPES)}.")
    return _TYPES[name]


def _kind(of: str) -> pb.CatalogueKind.ValueType:
    if not of:
        return pb.CATALOGUE_KIND_UNSPECIFIED
    if of not in _KINDS:
        raise bad_input(f"There are no attributes of {of!r}.", hint=f"There are those of: {', '.join(_KINDS)}.")
    return _KINDS[of]


def _kind_of(kind: pb.CatalogueKind.ValueType) -> str:
    return next(name for name, number in _KINDS.items() if number == kind)


def _types(attribute: pb.CatalogueAttribute) -> str:
    """As detected, and as the workspace reads it."""
    found = _words(one.type for one in attribute.types)
    return f"{found}; read as {_words([attribute.override])}" if attribute.override else found


def _words(types: Iterable[account_pb2.AttributeType.ValueType]) -> str:
    return ", ".join(word(account_pb2.AttributeType.Name(one), "ATTRIBUTE_TYPE_") for one in islice(types, 3))


def _seen(sightings: pb.Sightings) -> tuple[str, str, str]:
    return count(sightings.count), when(sightings.first_time_ms), when(sightings.last_time_ms)


def _said(entry: pb.CatalogueEntry) -> str:
    deprecated = f"Deprecated. {entry.deprecation_note}" if entry.deprecated else ""
    return " ".join(f"{deprecated} {entry.description}".split())
