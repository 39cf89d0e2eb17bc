"""`muster audience list`: the table of audiences."""

from __future__ import annotations

import enum
from typing import Annotated

import typer
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.forwarder.v1 import connection_pb2

from cli.client import Muster
from cli.faults import bad_input
from cli.output import AccountOption, JsonOption, as_dict, count, note, print_json, table, word
from cli.settings import Settings

_NAMED_STATES = {word(name, "AUDIENCE_STATE_"): number for name, number in audience_pb2.AudienceState.items() if number}


class Sort(enum.StrEnum):
    """What the table can be sorted by."""

    NAME = "name"
    CREATED = "created"
    UPDATED = "updated"
    SIZE = "size"
    ADDS = "adds"
    DROPS = "drops"
    VOLATILITY = "volatility"


_ORDERS = {Sort.NAME: "name asc", Sort.CREATED: "create_time desc", Sort.UPDATED: "update_time desc"}


def add_to(app: typer.Typer) -> None:
    """Add the command to `muster audience`."""
    app.command("list")(list_audiences)


def list_audiences(
    tag: Annotated[list[str] | None, typer.Option(help="With this tag; may be repeated, then with all of them.")] = None,
    state: Annotated[list[str] | None, typer.Option(help=f"In this state: {', '.join(_NAMED_STATES)}; may be repeated.")] = None,
    search: Annotated[str, typer.Option(help="A part of the name.")] = "",
    created_by: Annotated[str, typer.Option(help="Who made it.")] = "",
    integration: Annotated[list[str] | None, typer.Option(help="Sent to this partner; may be repeated, then to any of them.")] = None,
    connected: Annotated[bool | None, typer.Option("--connected/--not-connected", help="With a connection, or without.")] = None,
    faulted: Annotated[bool | None, typer.Option("--faulted/--not-faulted", help="With a faulted connection, or without.")] = None,
    tested: Annotated[bool | None, typer.Option("--tested/--not-tested", help="With an A/B test, or without.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="The archived ones instead of the others.")] = False,
    sort: Annotated[Sort, typer.Option(help="Names from A on; the rest with the newest or the most first.")] = Sort.CREATED,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the audiences of the account with their figures and connections; deleted ones only with --state deleted."""
    unknown = [name for name in state or [] if name not in _NAMED_STATES]
    if unknown:
        raise bad_input(f"There is no state {unknown[0]!r}.", hint=f"There are: {', '.join(_NAMED_STATES)}.")
    request = pb.ListAudienceRowsRequest(
        tags=tag or [],
        states=[_NAMED_STATES[name] for name in state or []],
        search=search,
        created_by=created_by,
        integration_keys=integration or [],
        connected=_filter(connected),
        faulted=_filter(faulted),
        tested=_filter(tested),
        archived=archived,
        order_by=_ORDERS.get(sort, f"{sort.value} desc"),
    )
    with Muster(Settings.load(), account) as muster:
        pages = list(muster.pages(muster.audiences.ListAudienceRows, request, service="definition"))
    rows = [row for page in pages for row in page.rows]
    if as_json:
        print_json({"audiences": [as_dict(row) for row in rows]})
        return
    columns = ["audience", "name", "state", "size", "adds", "drops", "volatility", "outputs", "by", "tags"]
    figures = ["audience", "size", "adds", "drops", "volatility"]
    table(columns, [_row(row) for row in rows], right=figures, empty="No audiences: `muster audience create` makes one.")
    if not all(page.figures_known for page in pages):
        note("Sizes are not known: the evaluator service does not answer.")


def _filter(asked: bool | None) -> pb.ListAudienceRowsRequest.Filter.ValueType:
    if asked is None:
        return pb.ListAudienceRowsRequest.FILTER_UNSPECIFIED
    return pb.ListAudienceRowsRequest.FILTER_YES if asked else pb.ListAudienceRowsRequest.FILTER_NO


def _row(row: pb.AudienceRow) -> tuple[object, ...]:
    live = row.HasField("figures")
    figures = (count(row.figures.size), count(row.figures.adds), count(row.figures.drops)) if live else ("", "", "")
    volatility = (f"{row.figures.volatility:.2f}" if row.figures.HasField("volatility") else "-") if live else ""
    state = word(audience_pb2.AudienceState.Name(row.state), "AUDIENCE_STATE_")
    name = f"{row.name} %" if row.ab_test_id else row.name
    return (
        row.audience_id,
        name,
        state,
        *figures,
        volatility,
        ", ".join(map(_output, row.connections)),
        row.created_by,
        ", ".join(row.tags),
    )


def _output(connection: pb.ConnectionUse) -> str:
    """`Hook`, with its variation, and what it does unless that is sending."""
    named = f"{connection.configuration_name}{f' ({connection.variation})' if connection.variation else ''}"
    if connection.state == connection_pb2.CONNECTION_STATE_SENDING:
        return named
    return f"{named}: {word(connection_pb2.ConnectionState.Name(connection.state), 'CONNECTION_STATE_')}"
