"""`muster audience uses, delete`: who uses an audience, and its end."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.forwarder.v1 import connection_pb2
from muster.sharing.v1 import sharing_service_pb2

from cli.client import Muster
from cli.faults import bad_input
from cli.output import AccountOption, AudienceArgument, JsonOption, as_dict, fields, print_json, table, word
from cli.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Add these commands to `muster audience`."""
    app.command("uses")(uses)
    app.command("delete")(delete)


def uses(
    audience: AudienceArgument,
    cascade: Annotated[bool, typer.Option("--cascade", help="Also who uses the users, and so on.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show who uses an audience: audiences that read its members, its A/B test, its connections, its shares."""
    with Muster(Settings.load(), account) as muster:
        found = _uses(muster, audience, cascade=cascade)
    if as_json:
        print_json(as_dict(found))
    else:
        _print(found)


def delete(
    audience: AudienceArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    cascade: Annotated[bool, typer.Option("--cascade", help="With all that uses it: audiences, tests, connections.")] = False,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete an audience. Refused while something uses it, unless that is to end with it."""
    with Muster(Settings.load(), account) as muster:
        digest = ""
        if cascade:
            ending = _uses(muster, audience, cascade=True)
            digest = ending.digest
            if not as_json:
                _print(ending)
        if not yes:
            if as_json or not sys.stdin.isatty():
                raise bad_input("Deleting an audience can't be undone.", hint="Say that you mean it with --yes.")
            found = muster.call(muster.audiences.GetAudience, pb.GetAudienceRequest(audience_id=audience), service="definition")
            typer.confirm(f"Delete the audience {found.name!r}{', and all of these' if cascade else ''}?", abort=True)
        request = pb.DeleteAudienceRequest(audience_id=audience, cascade=cascade, uses_digest=digest)
        gone = muster.call(muster.audiences.DeleteAudience, request, service="definition")
    if as_json:
        print_json(as_dict(gone))
        return
    state = word(audience_pb2.AudienceState.Name(gone.state), "AUDIENCE_STATE_")
    fields([("audience", gone.audience_id), ("name", gone.name), ("state", state)])


def _uses(muster: Muster, audience: int, *, cascade: bool) -> pb.ListAudienceUsesResponse:
    request = pb.ListAudienceUsesRequest(audience_id=audience, cascade=cascade)
    return muster.call(muster.audiences.ListAudienceUses, request, service="definition")


def _print(found: pb.ListAudienceUsesResponse) -> None:
    rows: list[tuple[object, ...]] = [
        ("audience", one.audience_id, one.name, word(audience_pb2.AudienceState.Name(one.state), "AUDIENCE_STATE_"))
        for one in found.audiences
    ]
    rows += [("test", test.ab_test_id, test.name, f"of the audience {test.audience_id}") for test in found.ab_tests]
    for one in found.connections:
        of = f"of the audience {one.audience_id}{f' ({one.variation})' if one.variation else ''}"
        state = word(connection_pb2.ConnectionState.Name(one.state), "CONNECTION_STATE_")
        rows.append(("connection", one.connection_id, one.configuration_name, f"{of}, {state}{f': {one.fault}' if one.fault else ''}"))
    for share in found.shares:
        state = word(sharing_service_pb2.ShareState.Name(share.state), "SHARE_STATE_")
        rows.append(("share", share.share_id, share.receiver_name, f"of the audience {share.audience_id}, {state}"))
    table(["use", "number", "name", ""], rows, right=["number"], empty="Nothing uses it.")
