"""`muster audience`: who is to be reached, and who is."""

from __future__ import annotations

import contextlib
import enum
import itertools
import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from muster.definition.v1 import audience_pb2, definition_pb2, language_service_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from muster.forwarder.v1 import connection_pb2, forwarder_service_pb2
from rich.markup import escape

from cli import definition as definitions
from cli.client import Muster
from cli.definition import DefinitionOption, TextOption
from cli.faults import CliFault, ExitCode, bad_input
from cli.lifecycle import lifecycle_fields
from cli.output import AccountOption, AudienceArgument, JsonOption, as_dict, console, count, fields, note, print_json, table, when, word
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Who is to be reached, and who is.")


class Step(enum.StrEnum):
    """How long a point of a history lasts."""

    HOUR = "hour"
    DAY = "day"


_STEPS = {Step.HOUR: evaluator_pb.HISTORY_STEP_HOUR, Step.DAY: evaluator_pb.HISTORY_STEP_DAY}
_NAMED_STATES = {word(name, "AUDIENCE_STATE_"): number for name, number in audience_pb2.AudienceState.items() if number}


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="At most 100 characters.")],
    workspace: Annotated[list[int], typer.Option(min=1, help="A workspace to read; may be repeated.")],
    definition: DefinitionOption = "",
    text: TextOption = "",
    input_id: Annotated[list[int] | None, typer.Option("--input", min=1, help="An input to read; may be repeated. None: all.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    external_name: Annotated[str, typer.Option(help="What partners see; otherwise the name.")] = "",
    description: Annotated[str, typer.Option(help="For colleagues.")] = "",
    activate: Annotated[bool, typer.Option("--activate", help="Activate it at once.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Save an audience as a draft."""
    if bool(definition) == bool(text):
        raise bad_input("Who belongs to it? Give --definition FILE or --text TEXT.")
    with Muster(Settings.load(), account) as muster:
        audience = audience_pb2.Audience(
            name=name,
            external_name=external_name,
            workspace_ids=workspace,
            input_ids=input_id or [],
            definition=definitions.read(muster, definition, text, workspaces=workspace, inputs=input_id or []),
            tags=tag or [],
            description=description,
        )
        made = muster.call(muster.audiences.CreateAudience, pb.CreateAudienceRequest(audience=audience), service="definition")
        if activate:
            request = pb.ActivateAudienceRequest(audience_id=made.audience_id, etag=made.etag)
            made = muster.call(muster.audiences.ActivateAudience, request, service="definition")
    _show(made, as_json)


@app.command("activate")
def activate(audience: AudienceArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Start to evaluate an audience, so that it can be connected."""
    with Muster(Settings.load(), account) as muster:
        request = pb.ActivateAudienceRequest(audience_id=audience)
        _show(muster.call(muster.audiences.ActivateAudience, request, service="definition"), as_json)


@app.command("deactivate")
def deactivate(audience: AudienceArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Stop to evaluate an audience: it has no members then, and partners are told so."""
    with Muster(Settings.load(), account) as muster:
        request = pb.DeactivateAudienceRequest(audience_id=audience)
        _show(muster.call(muster.audiences.DeactivateAudience, request, service="definition"), as_json)


@app.command("show")
def show(audience: AudienceArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show an audience: its definition, its size, its connections."""
    with Muster(Settings.load(), account) as muster:
        found = muster.call(muster.audiences.GetAudience, pb.GetAudienceRequest(audience_id=audience), service="definition")
        sentence = definitions.words_of(muster, found.definition, found.workspace_ids).sentence
        text = definitions.text_of(muster, found.definition)
        statistics = _statistics(muster, audience)
        connections = _connections(muster, audience)
    if as_json:
        document = {**as_dict(found), "sentence": sentence, "text": text}
        document["statistics"] = as_dict(statistics) if statistics else None
        document["connections"] = [as_dict(connection) for connection in connections] if connections is not None else None
        print_json(document)
        return
    _print_audience(found)
    if statistics is not None:
        fields(_figures(statistics))
    else:
        note("Sizes are not known: the evaluator service does not answer.")
    console.print()
    console.print(escape(sentence), soft_wrap=True)
    console.print()
    for line in text.split("\n"):
        console.print(f"  {escape(line)}", soft_wrap=True)
    console.print()
    for connection in connections or []:
        state = word(connection_pb2.ConnectionState.Name(connection.state), "CONNECTION_STATE_")
        fault = f": {connection.fault.message}" if connection.HasField("fault") else ""
        line = f"connection {connection.connection_id}: {state}, {count(connection.delivered_members)} delivered{fault}"
        console.print(escape(line))
    if connections is None:
        note("Connections are not known: the forwarder service does not answer.")


@app.command("members")
def members(
    audience: AudienceArgument,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the members, an MPID a line."""
    with Muster(Settings.load(), account) as muster:
        request = evaluator_pb.ListMembersRequest(audience_id=audience)
        answers = muster.stream(muster.evaluator.ListMembers, request, service="evaluator")
        first = next(answers, evaluator_pb.ListMembersResponse())
        header = first.header
        mpids = (mpid for answer in itertools.chain([first], answers) for mpid in answer.mpids)
        chosen = itertools.islice(mpids, limit or None)
        if as_json:
            print_json({**as_dict(header), "mpids": [str(mpid) for mpid in chosen]})
            return
        for mpid in chosen:
            sys.stdout.write(f"{mpid}\n")
    note(f"{count(header.size)} members, as of {when(header.moment.as_of_ms)}.")


@app.command("explain")
def explain(
    audience: AudienceArgument,
    mpid: Annotated[str, typer.Argument(metavar="MPID", help="The person; put `--` before a negative one.")],
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why a person is in an audience or not, and when that changes as time passes."""
    try:
        number = int(mpid)
    except ValueError:
        raise bad_input(f"MPID: {mpid} is not a whole number.") from None
    with Muster(Settings.load(), account) as muster:
        request = evaluator_pb.ExplainMembershipRequest(audience_id=audience, mpid=number)
        answer = muster.call(muster.evaluator.ExplainMembership, request, service="evaluator")
    if as_json:
        print_json(as_dict(answer))
        return
    for node in answer.nodes:
        found = f"{node.subject}: {node.value or 'nothing known'}; asked: {node.bound}" if node.subject else node.bound
        pad = "  " * node.depth
        console.print(f"{'yes' if node.holds else 'no ':3}  {pad}{escape(found)}", soft_wrap=True)
        times = [f"{word} {when(at)}" for word, at in (("since", node.since_ms), ("changes", node.next_change_ms)) if at]
        console.print(f"     {pad}[dim]{escape('  '.join([f'[{node.node_id}]', *times]))}[/]", soft_wrap=True)
    console.print(f"\n{escape(answer.summary)}", soft_wrap=True)
    for near in answer.near_misses:
        if near.missing not in answer.summary:
            console.print(f"Missing: {escape(near.missing)}.", soft_wrap=True)
    for inner in (node.inner for node in answer.nodes if node.HasField("inner") and node.inner.active):
        console.print(f"Audience {inner.audience_id}: {escape(inner.summary)}", soft_wrap=True)
    unknown = f" Nothing is said of the time before {when(answer.known_from_ms)}." if answer.known_from_ms and not answer.since_ms else ""
    note(f"As of {when(answer.moment.as_of_ms)}.{unknown}")


@app.command("estimate")
def estimate(
    audience: Annotated[int | None, typer.Argument(min=1, metavar="[AUDIENCE]", help="A saved audience, a draft for example.")] = None,
    definition: DefinitionOption = "",
    text: TextOption = "",
    workspace: Annotated[list[int] | None, typer.Option(min=1, help="A workspace to read; may be repeated.")] = None,
    input_id: Annotated[list[int] | None, typer.Option("--input", min=1, help="An input to read; may be repeated. None: all.")] = None,
    overlap: Annotated[int | None, typer.Option(min=1, metavar="AUDIENCE", help="Count also who is in this active audience too.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count who would be in an audience now, and in each of its parts, without saving or activating it."""
    if [audience is not None, bool(definition), bool(text)].count(True) != 1:
        raise bad_input("Estimate what? Give the number of an audience, or --definition FILE or --text TEXT with --workspace.")
    with Muster(Settings.load(), account) as muster:
        if audience is not None:
            saved = muster.call(muster.audiences.GetAudience, pb.GetAudienceRequest(audience_id=audience), service="definition")
            tree, workspaces, inputs = saved.definition, list(saved.workspace_ids), list(saved.input_ids)
        else:
            workspaces, inputs = workspace or [], input_id or []
            if not workspaces:
                raise bad_input("Of which workspace? Give --workspace.")
            tree = definitions.read(muster, definition, text, workspaces=workspaces, inputs=inputs)
        definitions.name_nodes(tree)
        request = evaluator_pb.EstimateRequest(
            definition=tree, workspace_ids=workspaces, input_ids=inputs, overlap_audience_id=overlap or 0
        )
        answer = muster.call(muster.evaluator.Estimate, request, service="evaluator")
        phrases = [] if as_json else _phrases(muster, tree, workspaces)
    if as_json:
        print_json(as_dict(answer))
        return
    share = f" ({answer.size / answer.candidates:.1%})" if answer.candidates else ""
    fields(
        [
            ("size", count(answer.size) + share),
            ("candidates", count(answer.candidates)),
            (f"also in {overlap}", count(answer.overlap) if overlap else ""),
            ("as of", when(answer.moment.as_of_ms)),
            ("behind by", f"{answer.moment.lag_ms} ms" if answer.moment.lag_ms else ""),
        ]
    )
    console.print()
    sizes = {node.node_id: count(node.size) for node in answer.nodes}
    if phrases is None:
        note("The sizes of the parts are not told: the definition service does not answer.")
        return
    rows = [(sizes.get(phrase.node_id, ""), f"{'  ' * phrase.depth}{phrase.text}") for phrase in phrases]
    table(["size", "of those who could be in it"], rows, right=["size"])


@app.command("history")
def history(
    audience: AudienceArgument,
    by: Annotated[Step, typer.Option(help="A point for each hour or each day (UTC).")] = Step.HOUR,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how the size of an audience changed: in the last 24 hours, or days."""
    with Muster(Settings.load(), account) as muster:
        request = evaluator_pb.ListAudienceHistoryRequest(audience_id=audience, step=_STEPS[by])
        answer = muster.call(muster.evaluator.ListAudienceHistory, request, service="evaluator")
    if as_json:
        print_json(as_dict(answer))
        return
    rows = [(when(p.time_ms), count(p.size), count(p.adds), count(p.drops), _volatility(p)) for p in answer.points]
    table(["from", "size", "adds", "drops", "volatility"], rows, right=["size", "adds", "drops", "volatility"])


@app.command("watch")
def watch(
    audience: Annotated[list[int] | None, typer.Argument(min=1, metavar="[AUDIENCE]...", help="Their numbers; none: all.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow the sizes of audiences as they change, until Ctrl-C."""
    told: dict[int, tuple[object, ...]] = {}
    with Muster(Settings.load(), account) as muster, contextlib.suppress(KeyboardInterrupt):
        request = evaluator_pb.WatchAudiencesRequest(audience_ids=audience or [])
        for answer in muster.stream(muster.evaluator.WatchAudiences, request, service="evaluator"):
            if as_json:
                sys.stdout.write(json.dumps(as_dict(answer), ensure_ascii=False) + "\n")
                sys.stdout.flush()
                continue
            for one in answer.statistics:
                shown = [(name, said) for name, said in _figures(one) if name != "as of"]
                if told.get(one.audience_id) != tuple(shown):  # what is said again only says that it still holds
                    told[one.audience_id] = tuple(shown)
                    figures = ", ".join(f"{name} {said}" for name, said in shown)
                    console.print(f"{when(one.moment.as_of_ms)}  audience {one.audience_id}: {figures}", soft_wrap=True)


def _phrases(
    muster: Muster, definition: definition_pb2.Definition, workspaces: Sequence[int]
) -> Sequence[language_service_pb2.NodePhrase] | None:
    """What each node says; None where the definition service is away, which need not answer for an estimate of a file."""
    try:
        return definitions.words_of(muster, definition, workspaces).phrases
    except CliFault as fault:
        if fault.exit_code is ExitCode.UNAVAILABLE:
            return None
        raise


def _statistics(muster: Muster, audience_id: int) -> evaluator_pb.AudienceStatistics | None:
    """The figures of an audience; None where the evaluator is away."""
    request = evaluator_pb.GetAudienceStatisticsRequest(audience_id=audience_id)
    try:
        return muster.call(muster.evaluator.GetAudienceStatistics, request, service="evaluator")
    except CliFault as fault:
        if fault.exit_code is ExitCode.UNAVAILABLE:
            return None
        if fault.code == "NOT_FOUND":
            # The evaluator follows the definitions, and may be a moment behind.
            return evaluator_pb.AudienceStatistics(audience_id=audience_id)
        raise


def _connections(muster: Muster, audience_id: int) -> list[connection_pb2.Connection] | None:
    """The connections of an audience; None where the forwarder is away."""
    request = forwarder_service_pb2.ListConnectionsRequest(audience_id=audience_id)
    try:
        pages = muster.pages(muster.connections.ListConnections, request, service="forwarder")
        return [connection for page in pages for connection in page.connections]
    except CliFault as fault:
        if fault.exit_code is ExitCode.UNAVAILABLE:
            return None
        raise


def _figures(statistics: evaluator_pb.AudienceStatistics) -> list[tuple[str, object]]:
    if statistics.state != evaluator_pb.POPULATION_STATE_LIVE:
        return [("size", "not evaluated")]
    return [
        ("size", count(statistics.size)),
        ("last 24 h", f"{count(statistics.adds)} added, {count(statistics.drops)} dropped"),
        ("volatility", _volatility(statistics)),
        ("as of", when(statistics.moment.as_of_ms)),
        ("test", ", ".join(f"{one.name} {count(one.size)}" for one in statistics.variations)),
        ("cost", _cost(statistics.cost)),
    ]


def _cost(cost: evaluator_pb.Cost) -> str:
    share = f" ({cost.seconds / cost.seconds_of_all:.1%} of all)" if cost.seconds_of_all else ""
    return f"{cost.seconds:,.2f} s of the last hour{share}, {count(cost.looked_at)} looked at"


def _volatility(of: evaluator_pb.AudienceStatistics | evaluator_pb.HistoryPoint) -> str:
    return f"{of.volatility:.2f}" if of.HasField("volatility") else "-"


def _show(audience: audience_pb2.Audience, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(audience))
    else:
        _print_audience(audience)


def _print_audience(audience: audience_pb2.Audience) -> None:
    fields(
        [
            ("audience", audience.audience_id),
            ("name", audience.name),
            ("external name", audience.external_name),
            ("description", audience.description),
            ("state", word(audience_pb2.AudienceState.Name(audience.state), "AUDIENCE_STATE_")),
            ("revision", audience.revision),
            ("workspaces", ", ".join(map(str, audience.workspace_ids))),
            ("inputs", ", ".join(map(str, audience.input_ids)) or "all"),
            ("tags", ", ".join(audience.tags)),
            *lifecycle_fields(audience),
        ]
    )
