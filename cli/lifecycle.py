"""`muster audience archive, unarchive, schedule`: audiences out of the way, and what becomes of them by themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb

from cli.client import Muster
from cli.faults import bad_input
from cli.output import AccountOption, AudienceArgument, JsonOption, as_dict, fields, print_json, when, word
from cli.settings import Settings

_TIME_HELP = "An instant as 2026-12-01T08:00 (UTC), or with its own offset as 2026-12-01T08:00+01:00."


def add_to(app: typer.Typer) -> None:
    """Add these commands to `muster audience`."""
    app.command("archive")(archive)
    app.command("unarchive")(unarchive)
    app.command("schedule")(schedule)


def archive(audience: AudienceArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Put an audience out of the way, which may not be active; it is kept, and not edited meanwhile."""
    with Muster(Settings.load(), account) as muster:
        request = pb.ArchiveAudienceRequest(audience_id=audience)
        _show(muster.call(muster.audiences.ArchiveAudience, request, service="definition"), as_json)


def unarchive(audience: AudienceArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Take an archived audience back."""
    with Muster(Settings.load(), account) as muster:
        request = pb.UnarchiveAudienceRequest(audience_id=audience)
        _show(muster.call(muster.audiences.UnarchiveAudience, request, service="definition"), as_json)


def schedule(
    audience: AudienceArgument,
    activate: Annotated[str, typer.Option(help=f"When to activate it. {_TIME_HELP}")] = "",
    deactivate: Annotated[str, typer.Option(help=f"When to deactivate it. {_TIME_HELP}")] = "",
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say when an audience is activated and deactivated by itself, in place of what was said before; nothing: not at all."""
    told = audience_pb2.Schedule(activate_time_ms=_instant(activate), deactivate_time_ms=_instant(deactivate))
    with Muster(Settings.load(), account) as muster:
        request = pb.ScheduleAudienceRequest(audience_id=audience, schedule=told)
        _show(muster.call(muster.audiences.ScheduleAudience, request, service="definition"), as_json)


def _instant(text: str) -> int:
    """Milliseconds since 1970; 0 for nothing. Raises a fault for what is no instant."""
    if not text:
        return 0
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise bad_input(f"{text!r} is no instant.", hint=_TIME_HELP) from None
    return round((instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp() * 1000)


def _show(audience: audience_pb2.Audience, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(audience))
        return
    fields(
        [
            ("audience", audience.audience_id),
            ("name", audience.name),
            ("state", word(audience_pb2.AudienceState.Name(audience.state), "AUDIENCE_STATE_")),
            *lifecycle_fields(audience),
        ]
    )


def lifecycle_fields(audience: audience_pb2.Audience) -> list[tuple[str, object]]:
    """What there is to say of an audience's future, and of the shelf that it lies on."""
    return [
        ("archived", when(audience.archive_time_ms)),
        ("activates", when(audience.schedule.activate_time_ms)),
        ("ends", when(audience.schedule.deactivate_time_ms)),
        ("not done", audience.schedule.fault),
    ]
