"""`muster token`: access tokens for people and programs."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.faults import bad_input
from cli.output import JsonOption, note, print_json
from cli.settings import Settings
from services.chassis.auth import OPERATOR, OPERATOR_ACCOUNT

app = typer.Typer(no_args_is_help=True, help="Access tokens for people and programs.")

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@app.command("mint")
def mint(
    account: Annotated[int | None, typer.Option("--account", min=0, help="For this account; 0: the operator of the installation.")] = None,
    subject: Annotated[str, typer.Option(help="Whom it speaks for, as it stands in logs and authorships.")] = "cli",
    role: Annotated[list[str] | None, typer.Option(help="A role; may be repeated. The operator has his role without it.")] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: 30m, 12h or 30d.")] = "12h",
    as_json: JsonOption = False,
) -> None:
    """Make a token, signed by MUSTER_TOKEN_SECRET or the secret of `muster dev`: `authorization: Bearer TOKEN`."""
    settings = Settings.load()
    length = _length(ttl)
    account_id = OPERATOR_ACCOUNT if account == OPERATOR_ACCOUNT else settings.account_id(account)
    roles = list(role or ([OPERATOR] if account_id == OPERATOR_ACCOUNT else []))
    token = settings.mint(account_id, subject=subject, roles=roles, ttl=length)
    end = datetime.now(UTC) + length
    if as_json:
        print_json(
            {
                "token": token,
                "account_id": str(account_id),
                "subject": subject,
                "roles": roles,
                "expire_time_ms": str(int(end.timestamp() * 1000)),
            }
        )
        return
    sys.stdout.write(f"{token}\n")
    note(f"For {f'account {account_id}' if account_id else 'the operator'}, valid until {end:%Y-%m-%d %H:%M} UTC.")


def _length(ttl: str) -> timedelta:
    said = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", ttl)
    if said is None:
        raise bad_input(f"{ttl!r} is not a length of time.", hint="Write 30m, 12h or 30d.")
    return int(said[1]) * _UNITS[said[2]]
