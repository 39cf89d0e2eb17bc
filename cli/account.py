"""`muster account`: the customers of this installation."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from muster.definition.v1 import account_pb2
from muster.definition.v1 import definition_service_pb2 as pb

from cli.client import Muster
from cli.output import AccountOption, JsonOption, as_dict, fields, note, print_json, when
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The customers of this installation.")

_TOKEN_TTL = timedelta(days=30)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="1 to 100 characters.")],
    look_back_days: Annotated[int, typer.Option(min=0, help="How far back event criteria see; 0: 30 days.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make an account; for the operator of the installation only. The first one is what later commands mean."""
    settings = Settings.load()
    with Muster.as_operator(settings) as muster:
        request = pb.CreateAccountRequest(name=name, look_back_days=look_back_days)
        account = muster.call(muster.accounts.CreateAccount, request, service="definition")
    settings.remember_account(account.account_id, ttl=_TOKEN_TTL)
    _show(account, as_json)
    if not as_json:
        note(f"Commands take it with --account {account.account_id}.")


@app.command("show")
def show(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show the account that commands mean."""
    with Muster(Settings.load(), account) as muster:
        _show(muster.call(muster.accounts.GetAccount, pb.GetAccountRequest(), service="definition"), as_json)


def _show(account: account_pb2.Account, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(account))
        return
    fields(
        [
            ("account", account.account_id),
            ("name", account.name),
            ("look-back", f"{account.look_back_days} days"),
            ("created", when(account.create_time_ms)),
        ]
    )
