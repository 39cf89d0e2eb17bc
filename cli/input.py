"""`muster input`: where data comes from, and the keys to send it with."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from muster.definition.v1 import account_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.ingest.v1 import ingest_service_pb2 as ingest_pb
from muster.ingest.v1 import live_pb2

from cli.client import Muster
from cli.faults import CliFault, ExitCode, bad_input
from cli.output import AccountOption, JsonOption, as_dict, console, count, fields, note, print_json, table, word
from cli.received import figures, line
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Where data comes from, and the keys to send it with.")

PerSecondOption = Annotated[
    int | None,
    typer.Option("--events-per-second", min=0, max=10**9, help="More events in a second are refused for the time being; 0 for no limit."),
]
PerDayOption = Annotated[int | None, typer.Option("--events-per-day", min=0, max=10**12, help="The same for any 24 hours; 0 for no limit.")]

_PLATFORMS = {word(name, "PLATFORM_").replace(" ", "-"): number for name, number in account_pb2.Platform.items() if number}


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="1 to 100 characters.")],
    workspace: Annotated[int, typer.Option(min=1, help="The workspace that it belongs to.")],
    platform: Annotated[str, typer.Option(help=f"An app's platform: {', '.join(_PLATFORMS)}.")] = "",
    feed: Annotated[bool, typer.Option("--feed", help="A feed of a server or partner, in place of a platform.")] = False,
    segment: Annotated[
        bool, typer.Option("--segment", help="Its key alone may send, by the Segment API: it is the write key there.")
    ] = False,
    per_second: PerSecondOption = None,
    per_day: PerDayOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an input. Its secret is shown here and never again."""
    if feed == bool(platform):
        raise bad_input("An input is either of a platform or a feed: give --platform NAME or --feed.")
    if platform and platform not in _PLATFORMS:
        raise bad_input(f"There is no platform {platform!r}.", hint=f"There are: {', '.join(_PLATFORMS)}.")
    request = pb.CreateInputRequest(
        workspace_id=workspace, name=name, allow_key_only=segment, events_per_second=per_second or 0, events_per_day=per_day or 0
    )
    request.kind = account_pb2.INPUT_KIND_FEED if feed else account_pb2.INPUT_KIND_PLATFORM
    if platform:
        request.platform = _PLATFORMS[platform]
    with Muster(Settings.load(), account) as muster:
        answer = muster.call(muster.accounts.CreateInput, request, service="definition")
    if as_json:
        print_json(as_dict(answer))
        return
    fields(
        [
            ("input", answer.input.input_id),
            ("name", answer.input.name),
            ("source", _source(answer.input)),
            ("API key", answer.input.api_key),
            ("API secret", answer.api_secret),
            ("write key", answer.input.api_key if answer.input.allow_key_only else ""),
            ("at most", _limits(answer.input)),
        ]
    )
    note("Keep the secret now: it can't be shown again.")


@app.command("update")
def update(
    input_id: Annotated[int, typer.Argument(metavar="INPUT", min=1, help="The number of the input.")],
    name: Annotated[str | None, typer.Option(help="1 to 100 characters.")] = None,
    segment: Annotated[
        bool | None, typer.Option("--segment/--no-segment", help="Whether its key alone may send, by the Segment API.")
    ] = None,
    per_second: PerSecondOption = None,
    per_day: PerDayOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change an input; what is not given stays."""
    given = {"name": name, "allow_key_only": segment, "events_per_second": per_second, "events_per_day": per_day}
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise bad_input("There is nothing to change.", hint="Give --name, --segment, --events-per-second or --events-per-day.")
    with Muster(Settings.load(), account) as muster:
        before = _find(muster, input_id)
        request = pb.UpdateInputRequest(
            input=account_pb2.Input(input_id=input_id, etag=before.etag, **changes),  # type: ignore[arg-type]
            update_mask=FieldMask(paths=list(changes)),
        )
        after = muster.call(muster.accounts.UpdateInput, request, service="definition")
    if as_json:
        print_json(as_dict(after))
        return
    fields(
        [
            ("input", after.input_id),
            ("name", after.name),
            ("source", _source(after)),
            ("write key", after.api_key if after.allow_key_only else ""),
            ("at most", _limits(after)),
        ]
    )


@app.command("list")
def list_inputs(
    workspace: Annotated[int, typer.Option(min=0, help="Of this workspace only.")] = 0,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the inputs of the account, with their keys."""
    with Muster(Settings.load(), account) as muster:
        inputs = list(_inputs(muster, workspace))
    if as_json:
        print_json({"inputs": [as_dict(item) for item in inputs]})
        return
    rows = [
        (
            item.input_id,
            item.name,
            item.workspace_id,
            _source(item),
            item.api_key,
            word(account_pb2.InputState.Name(item.state), "INPUT_STATE_"),
        )
        for item in inputs
    ]
    table(["input", "name", "workspace", "source", "API key", "state"], rows, right=["input", "workspace"], empty="No inputs.")


@app.command("show")
def show(
    input_id: Annotated[int, typer.Argument(metavar="INPUT", min=1, help="The number of the input.")],
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """An input, and what it sent since ingest was started."""
    with Muster(Settings.load(), account) as muster:
        item = _find(muster, input_id)
        told = _statistics(muster, item)
    if as_json:
        print_json({"input": as_dict(item), "statistics": as_dict(told) if told else None})
        return
    fields(
        [
            ("input", item.input_id),
            ("name", item.name),
            ("workspace", item.workspace_id),
            ("source", _source(item)),
            ("state", word(account_pb2.InputState.Name(item.state), "INPUT_STATE_")),
            ("API key", item.api_key),
            ("write key", item.api_key if item.allow_key_only else ""),
            ("at most", _limits(item)),
            *(figures(told) if told else ()),
        ]
    )


@app.command("tail")
def tail(
    input_id: Annotated[int, typer.Argument(metavar="INPUT", min=1, help="The number of the input.")],
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow what an input sends, until Ctrl-C: the newest first of all, then what comes, faults too. Shows personal data."""
    with Muster(Settings.load(), account) as muster, contextlib.suppress(KeyboardInterrupt):
        request = ingest_pb.WatchInputRequest(input_id=input_id)
        for number, answer in enumerate(muster.stream(muster.ingest.WatchInput, request, service="ingest")):
            if as_json:
                sys.stdout.write(json.dumps(as_dict(answer), ensure_ascii=False) + "\n")
                sys.stdout.flush()
                continue
            if number == 0:
                fields(figures(answer.statistics))
            if answer.missed:
                console.print(f"[dim]{count(answer.missed)} more, not shown[/]")
            for one in answer.received:
                console.print(line(one), soft_wrap=True)


def _statistics(muster: Muster, item: account_pb2.Input) -> live_pb2.InputStatistics | None:
    """What the input sent; None where nobody can tell: ingest is away, or the input is inactive."""
    if item.state != account_pb2.INPUT_STATE_ACTIVE:
        return None
    request = ingest_pb.GetInputStatisticsRequest(input_id=item.input_id)
    try:
        return muster.call(muster.ingest.GetInputStatistics, request, service="ingest")
    except CliFault as fault:
        if fault.exit_code is ExitCode.UNAVAILABLE:
            return None
        if fault.code == "NOT_FOUND":
            # Ingest follows the definitions, and may be a moment behind.
            return live_pb2.InputStatistics(input_id=item.input_id)
        raise


def _inputs(muster: Muster, workspace_id: int = 0) -> Iterator[account_pb2.Input]:
    pages = muster.pages(muster.accounts.ListInputs, pb.ListInputsRequest(workspace_id=workspace_id), service="definition")
    return (item for page in pages for item in page.inputs)


def _find(muster: Muster, input_id: int) -> account_pb2.Input:
    for item in _inputs(muster):
        if item.input_id == input_id:
            return item
    raise bad_input(f"The account has no input {input_id}.", hint="`muster input list` shows them.")


def _limits(item: account_pb2.Input) -> str:
    limits = [(item.events_per_second, "second"), (item.events_per_day, "day")]
    return ", ".join(f"{count(limit)} events a {unit}" for limit, unit in limits if limit)


def _source(item: account_pb2.Input) -> str:
    if item.kind == account_pb2.INPUT_KIND_FEED:
        return "feed"
    return word(account_pb2.Platform.Name(item.platform), "PLATFORM_")
