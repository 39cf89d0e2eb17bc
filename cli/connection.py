"""`muster connection`: audiences at partners."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from muster.forwarder.v1 import connection_pb2
from muster.forwarder.v1 import forwarder_service_pb2 as pb

from cli.client import Muster
from cli.faults import bad_input
from cli.given import SettingOption, read_settings
from cli.output import AccountOption, JsonOption, as_dict, console, count, fields, print_json, table, when, word
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Audiences at partners.")

ConnectionArgument = Annotated[int, typer.Argument(min=1, metavar="CONNECTION", help="The number of the connection.")]

_DELIVERIES_SHOWN = 10
_NAMED_STATES = {word(name, "CONNECTION_STATE_"): number for name, number in connection_pb2.ConnectionState.items() if number}


@app.command("create")
def create(
    audience: Annotated[int, typer.Option(min=1, help="The audience to send; it must be active.")],
    configuration: Annotated[int, typer.Option(min=1, help="The configuration to send it with.")],
    variation: Annotated[str, typer.Option(help="One variation of an A/B test; otherwise the whole audience.")] = "",
    setting: SettingOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Connect an audience to a partner: its members are sent from now on."""
    settings = read_settings(setting or [])
    with Muster(Settings.load(), account) as muster:
        request = pb.CreateConnectionRequest(audience_id=audience, configuration_id=configuration, variation=variation, settings=settings)
        _show(muster.call(muster.connections.CreateConnection, request, service="forwarder"), as_json)


@app.command("list")
def list_connections(
    audience: Annotated[int, typer.Option(min=0, help="Of this audience only.")] = 0,
    configuration: Annotated[int, typer.Option(min=0, help="Of this configuration only.")] = 0,
    state: Annotated[list[str] | None, typer.Option(help=f"In this state: {', '.join(_NAMED_STATES)}; may be repeated.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the connections, faults included."""
    unknown = [name for name in state or [] if name not in _NAMED_STATES]
    if unknown:
        raise bad_input(f"There is no state {unknown[0]!r}.", hint=f"There are: {', '.join(_NAMED_STATES)}.")
    request = pb.ListConnectionsRequest(audience_id=audience, configuration_id=configuration)
    request.states.extend(_NAMED_STATES[name] for name in state or [])
    with Muster(Settings.load(), account) as muster:
        pages = muster.pages(muster.connections.ListConnections, request, service="forwarder")
        found = [connection for page in pages for connection in page.connections]
    if as_json:
        print_json({"connections": [as_dict(connection) for connection in found]})
        return
    rows = [
        (
            connection.connection_id,
            f"{connection.audience_id}{f' ({connection.variation})' if connection.variation else ''}",
            connection.configuration_id,
            _state(connection),
            count(connection.delivered_members),
            count(connection.waiting_changes),
            _why(connection),
        )
        for connection in found
    ]
    columns = ["connection", "audience", "configuration", "state", "delivered", "waiting", "why"]
    table(columns, rows, right=["connection", "audience", "configuration", "delivered", "waiting"], empty="No connections.")


@app.command("show")
def show(connection: ConnectionArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show a connection, its fault and its newest deliveries."""
    with Muster(Settings.load(), account) as muster:
        found = muster.call(muster.connections.GetConnection, pb.GetConnectionRequest(connection_id=connection), service="forwarder")
        request = pb.ListDeliveriesRequest(connection_id=connection, page_size=_DELIVERIES_SHOWN)
        deliveries = muster.call(muster.connections.ListDeliveries, request, service="forwarder").deliveries
    if as_json:
        print_json({**as_dict(found), "deliveries": [as_dict(delivery) for delivery in deliveries]})
        return
    _print_connection(found)
    if deliveries:
        console.print()
        rows = [
            (
                delivery.delivery_id,
                word(connection_pb2.DeliveryOutcome.Name(delivery.outcome), "DELIVERY_OUTCOME_"),
                delivery.adds,
                delivery.drops,
                delivery.updates,
                delivery.rejected,
                delivery.tries,
                when(delivery.finish_time_ms),
                delivery.message,
            )
            for delivery in deliveries
        ]
        columns = ["delivery", "outcome", "adds", "drops", "updates", "rejected", "tries", "finished", "message"]
        table(columns, rows, right=["delivery", "adds", "drops", "updates", "rejected", "tries"])


@app.command("pause")
def pause(connection: ConnectionArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Send nothing more until it is resumed."""
    with Muster(Settings.load(), account) as muster:
        request = pb.PauseConnectionRequest(connection_id=connection)
        _show(muster.call(muster.connections.PauseConnection, request, service="forwarder"), as_json)


@app.command("resume")
def resume(connection: ConnectionArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Clear a pause or a fault, and send the difference between what the partner has and what should be there."""
    with Muster(Settings.load(), account) as muster:
        request = pb.ResumeConnectionRequest(connection_id=connection)
        _show(muster.call(muster.connections.ResumeConnection, request, service="forwarder"), as_json)


@app.command("delete")
def delete(
    connection: ConnectionArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a connection for good."""
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise bad_input("A deleted connection can't be brought back.", hint="Say that you mean it with --yes.")
        typer.confirm(f"Delete the connection {connection}?", abort=True)
    with Muster(Settings.load(), account) as muster:
        request = pb.DeleteConnectionRequest(connection_id=connection)
        _show(muster.call(muster.connections.DeleteConnection, request, service="forwarder"), as_json)


def _show(connection: connection_pb2.Connection, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(connection))
    else:
        _print_connection(connection)


def _print_connection(connection: connection_pb2.Connection) -> None:
    fields(
        [
            ("connection", connection.connection_id),
            ("audience", connection.audience_id),
            ("variation", connection.variation),
            ("configuration", connection.configuration_id),
            ("state", _state(connection)),
            ("why", _why(connection)),
            ("since", when(connection.fault.time_ms)),
            ("delivered", f"{count(connection.delivered_members)} members"),
            ("waiting", f"{count(connection.waiting_changes)} people to look at"),
            ("rejected", count(connection.rejected_records) if connection.rejected_records else ""),
            ("last delivery", when(connection.last_delivery_time_ms)),
        ]
    )


def _state(connection: connection_pb2.Connection) -> str:
    return word(connection_pb2.ConnectionState.Name(connection.state), "CONNECTION_STATE_")


def _why(connection: connection_pb2.Connection) -> str:
    if connection.HasField("fault"):
        return f"{word(connection_pb2.FaultCause.Name(connection.fault.cause), 'FAULT_CAUSE_')}: {connection.fault.message}"
    return connection.pause_reason
