"""Plans and outcomes, for people and for programs."""

from __future__ import annotations

from typing import Any

from muster.definition.v1 import definition_service_pb2 as pb
from rich.markup import escape

from cli.code.applying import Outcome
from cli.code.plan import Change, Kind
from cli.code.planning import Planned
from cli.output import as_dict, console, note

_MARKS = {Kind.CREATE: "[green]+[/]", Kind.EDIT: "[yellow]~[/]", Kind.DELETE: "[red]-[/]"}


def plan_dict(planned: Planned) -> dict[str, Any]:
    """A plan as `--json` prints it."""
    return {
        "same": not planned.plan.changes,
        "changes": [_change_dict(planned, change) for change in planned.plan.changes],
        "waiting": [
            {"name": name, "configuration": connection.configuration, "variation": connection.variation}
            for name, connection in planned.plan.waiting
        ],
        "without_file": list(planned.plan.others),
    }


def _change_dict(planned: Planned, change: Change) -> dict[str, Any]:
    file = planned.file(change)
    told: dict[str, Any] = {
        "change": str(change.kind),
        "name": change.name,
        "audience_id": str(change.audience_id),
        "file": file.file.name if file else "",
        "steps": [str(step.action) for step in change.steps],
        "differences": [{"field": one.field, "before": one.before, "after": one.after} for one in change.differences],
    }
    if change.kind is Kind.DELETE:
        told["uses"] = as_dict(planned.uses[change.audience_id])
    return told


def outcome_dict(outcome: Outcome) -> dict[str, Any]:
    """What became of a change, as `--json` prints it."""
    fault = outcome.fault.as_dict()["error"] if outcome.fault else None
    return {"change": str(outcome.change.kind), "name": outcome.change.name, "steps_done": outcome.done, "error": fault}


def print_plan(planned: Planned) -> None:
    """A plan for people."""
    if not planned.plan.changes:
        console.print("The account is as the files say.")
    for change in planned.plan.changes:
        file = planned.file(change)
        number = f"audience {change.audience_id}" if change.audience_id else "new"
        where = f"{number}, {file.file.name}" if file else f"{number}, no file"
        console.print(f"{_MARKS[change.kind]} [bold]{escape(change.name)}[/] [dim]({escape(where)})[/]", soft_wrap=True)
        for one in change.differences:
            _print_difference(one.field, one.before, one.after)
        if change.kind is Kind.DELETE:
            _print_uses(planned.uses[change.audience_id])
    for name, connection in planned.plan.waiting:
        of = f" ({connection.variation})" if connection.variation else ""
        note(f"{name} is not active: its connection to {connection.configuration}{of} is made once it is.")
    if planned.plan.others:
        note(f"Without a file, and left alone: {', '.join(planned.plan.others)}.")


def _print_difference(field: str, before: str, after: str) -> None:
    if "\n" in before or "\n" in after or len(before) + len(after) > 100:
        console.print(f"    {field}:", soft_wrap=True)
        for color, mark, text in (("red", "-", before), ("green", "+", after)):
            for line in text.split("\n") if text else []:
                console.print(f"      [{color}]{mark}[/] {escape(line)}", soft_wrap=True)
    elif before and after:
        console.print(f"    {field}: [red]{escape(before)}[/] -> [green]{escape(after)}[/]", soft_wrap=True)
    else:
        mark = f"[green]+ {escape(after)}[/]" if after else f"[red]- {escape(before)}[/]"
        console.print(f"    {field}: {mark}", soft_wrap=True)


def _print_uses(uses: pb.ListAudienceUsesResponse) -> None:
    lines = [f"is read by {audience.name}" for audience in uses.audiences]
    lines += [f"with its test {test.name}" for test in uses.ab_tests]
    for one in uses.connections:
        of = f" ({one.variation})" if one.variation else ""
        lines.append(f"with its connection to {one.configuration_name}{of}")
    for line in lines:
        console.print(f"    {escape(line)}", soft_wrap=True)
