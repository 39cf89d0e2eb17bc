"""`muster test`: an audience split for an A/B test, and what became of its variations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from muster.definition.v1 import audience_pb2, definition_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from muster.ingest.v1 import event_type_pb2

from cli.client import Muster
from cli.faults import bad_input
from cli.output import AccountOption, AudienceArgument, JsonOption, as_dict, console, count, fields, note, print_json, table, when, word
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="An audience split for an A/B test, and what became of its variations.")


_TYPES = {word(name, "EVENT_TYPE_").replace(" ", "-"): number for name, number in event_type_pb2.EventType.items() if number}


@app.command("create")
def create(
    audience: AudienceArgument,
    variation: Annotated[list[str], typer.Option(help="NAME=PERCENTAGE, whole; up to five. Control holds the rest.")],
    name: Annotated[str, typer.Option(help="At most 100 characters.")] = "A/B test",
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Split an audience. The split is fixed: to have another one, delete it first."""
    told = [_variation(one) for one in variation]
    test = audience_pb2.AbTest(audience_id=audience, name=name, variations=told)
    with Muster(Settings.load(), account) as muster:
        _show(muster.call(muster.ab_tests.CreateAbTest, pb.CreateAbTestRequest(ab_test=test), service="definition"), as_json)


@app.command("show")
def show(audience: AudienceArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show the test that an audience has."""
    with Muster(Settings.load(), account) as muster:
        _show(muster.call(muster.ab_tests.GetAbTest, pb.GetAbTestRequest(audience_id=audience), service="definition"), as_json)


@app.command("result")
def result(
    audience: AudienceArgument,
    goal: Annotated[str, typer.Option(help="What it is about: `commerce:purchase`, `custom:Sign up`, `upgrade`; a type, and a name.")] = "",
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what became of the variations since the test began; with a goal also how many reached it, and how sure that is."""
    request = evaluator_pb.GetAbTestResultRequest(audience_id=audience, goal=_goal(goal) if goal else None)
    with Muster(Settings.load(), account) as muster:
        found = muster.call(muster.evaluator.GetAbTestResult, request, service="evaluator")
    if as_json:
        print_json(as_dict(found))
        return
    fields([("test", found.ab_test_id), ("since", when(found.start_ms)), ("as of", when(found.moment.as_of_ms))])
    console.print()
    columns = ["variation", "%", "size", "adds 24 h", "drops 24 h", "took part"]
    rows: list[Sequence[object]] = [
        (one.name, one.percentage, *map(count, (one.size, one.adds, one.drops, one.participants))) for one in found.variations
    ]
    if goal:
        columns += ["reached it", "rate (95%)", "beside Control (95%)"]
        rows = [
            (*row, count(one.converted), _interval(one.rate) if one.HasField("rate") else "-", _beside(one))
            for row, one in zip(rows, found.variations, strict=True)
        ]
    table(columns, rows, right=columns[1:])
    if goal and found.goal_from_ms > found.start_ms:
        note(f"Goals are counted from {when(found.goal_from_ms)} on: events are kept no longer.")


@app.command("delete")
def delete(audience: AudienceArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Delete the test of an audience, and the connections of its variations; those of the whole audience stay."""
    with Muster(Settings.load(), account) as muster:
        test = muster.call(muster.ab_tests.GetAbTest, pb.GetAbTestRequest(audience_id=audience), service="definition")
        request = pb.DeleteAbTestRequest(ab_test_id=test.ab_test_id, etag=test.etag)
        _show(muster.call(muster.ab_tests.DeleteAbTest, request, service="definition"), as_json)


def _variation(text: str) -> audience_pb2.Variation:
    name, separator, percentage = text.rpartition("=")
    if not separator or not percentage.strip().isdecimal():
        raise bad_input(f"{text!r} is no variation.", hint="Write it as NAME=PERCENTAGE: --variation Blue=20.")
    return audience_pb2.Variation(name=name, percentage=min(int(percentage), 2**32 - 1))


def _goal(text: str) -> definition_pb2.EventMatch:
    type_, _, name = text.partition(":")
    if type_ not in _TYPES:
        raise bad_input(f"There are no events of the type {type_!r}.", hint=f"There are: {', '.join(sorted(_TYPES))}.")
    match = definition_pb2.EventMatch(type=_TYPES[type_])
    if name:
        match.name = name
    return match


def _show(test: audience_pb2.AbTest, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(test))
        return
    fields(
        [
            ("test", test.ab_test_id),
            ("audience", test.audience_id),
            ("name", test.name),
            ("created", f"{when(test.create_time_ms)} by {test.created_by}"),
            ("deleted", when(test.delete_time_ms)),
            *((one.name, f"{one.percentage}%") for one in test.variations),
            *([("Control", f"{100 - sum(one.percentage for one in test.variations)}%")] if test.variations else []),
        ]
    )


def _interval(one: evaluator_pb.Proportion) -> str:
    return f"{one.value:.2%} ({one.low:.2%} to {one.high:.2%})"


def _beside(one: evaluator_pb.VariationResult) -> str:
    if not one.HasField("difference"):
        return "-"
    told = one.difference
    return f"{100 * told.value:+.2f} points ({100 * told.low:+.2f} to {100 * told.high:+.2f})"
