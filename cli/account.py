"""`muster account`: the customers of this installation."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from muster.definition.v1 import account_pb2
from muster.definition.v1 import definition_service_pb2 as pb

from cli.client import Muster
from cli.faults import bad_input
from cli.output import AccountOption, JsonOption, as_dict, fields, note, print_json, table, when
from cli.person import name_of, type_of
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The customers of this installation.")

_VALUES_MAX = 1000
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


@app.command("identities")
def identities(
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="TYPE, TYPE:N (at most N values a person), TYPE:moves (goes over to whoever uses it) or TYPE:N:moves. The strongest "
            "first; may be repeated. These rules take the place of all that there are.",
        ),
    ] = None,
    keep_apart: Annotated[bool, typer.Option("--keep-apart", help="Nobody is merged with anybody.")] = False,
    usual: Annotated[bool, typer.Option("--usual", help="No rules of its own any more.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the account's own rules of who is who; with options, set them. They hold for what arrives from now on."""
    if usual and (rule or keep_apart):
        raise bad_input("--usual takes the account's rules away: leave --rule and --keep-apart out.")
    rules = [_rule(one) for one in rule or ()]
    with Muster(Settings.load(), account) as muster:
        now = muster.call(muster.accounts.GetAccount, pb.GetAccountRequest(), service="definition")
        if rules or keep_apart or usual:
            changed = account_pb2.Account(etag=now.etag)
            if not usual:
                changed.identity_rules.rules.extend(rules)
                changed.identity_rules.keep_apart = keep_apart
            request = pb.UpdateAccountRequest(account=changed, update_mask=FieldMask(paths=["identity_rules"]))
            now = muster.call(muster.accounts.UpdateAccount, request, service="definition")
    if as_json:
        print_json({"identity_rules": as_dict(now.identity_rules) if now.HasField("identity_rules") else None})
        return
    if not now.HasField("identity_rules"):
        note("The usual rules: a person has at most one customer-id, and a push-token goes over to whoever uses it.")
        return
    rows = [(name_of(one.type), one.max_values or "any number", "yes" if one.moves else "") for one in now.identity_rules.rules]
    table(["type, the strongest first", "values a person", "moves"], rows, empty="No type has a rule of its own.")
    if now.identity_rules.keep_apart:
        note("Nobody is merged with anybody.")


def _rule(given: str) -> account_pb2.IdentityRule:
    name, *words = given.split(":")
    rule = account_pb2.IdentityRule(type=type_of(name))
    for word in words:
        if word == "moves":
            rule.moves = True
        elif word.isascii() and word.isdecimal() and 0 < int(word) <= _VALUES_MAX:
            rule.max_values = int(word)
        else:
            raise bad_input(
                f"{given!r} is not a rule.", hint=f"Write it as email, email:1 (1 to {_VALUES_MAX}), push-token:moves or email:1:moves."
            )
    return rule


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
