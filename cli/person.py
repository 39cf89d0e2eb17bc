"""`muster person`: who is who."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from muster.ingest.v1 import identity_pb2
from muster.ingest.v1 import ingest_service_pb2 as pb

from cli.client import Muster
from cli.faults import CliFault, bad_input
from cli.output import AccountOption, JsonOption, as_dict, fields, note, print_json, table, when, word
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Who is who.")

TYPES = {word(name, "IDENTITY_TYPE_").replace(" ", "-"): number for name, number in identity_pb2.IdentityType.items() if number}

MpidArgument = Annotated[int, typer.Argument(metavar="MPID", help="Before a negative one comes `--`.")]


def type_of(name: str) -> identity_pb2.IdentityType.ValueType:
    """The type of identity of this name. Raises a fault that names all."""
    if name not in TYPES:
        raise bad_input(f"There is no type of identity {name!r}.", hint=f"There are: {', '.join(TYPES)}.")
    return TYPES[name]


def name_of(type_: int) -> str:
    """What a type of identity is called."""
    return word(identity_pb2.IdentityType.Name(type_), "IDENTITY_TYPE_").replace(" ", "-")  # type: ignore[arg-type]


@app.command("find")
def find(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="customer-id, email, mobile-number, ios-vendor-id, ...")],
    value: Annotated[str, typer.Argument()],
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the person who has this identity."""
    identity = identity_pb2.Identity(type=type_of(type_), value=value)
    with Muster(Settings.load(), account) as muster:
        found = muster.call(muster.identities.FindProfiles, pb.FindProfilesRequest(identities=[identity]), service="ingest")
        if not found.profiles:
            raise CliFault(f"Nobody has the {type_} {value!r}.")
        _show(muster, found.profiles[0].mpid, as_json)


@app.command("show")
def show(mpid: MpidArgument, account: AccountOption = None, as_json: JsonOption = False) -> None:
    """Show the identities of a person."""
    with Muster(Settings.load(), account) as muster:
        _show(muster, mpid, as_json)


@app.command("merges")
def merges(
    mpid: Annotated[int, typer.Option(help="Of this person only, whichever of the two it was.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who became one with whom, the latest first."""
    with Muster(Settings.load(), account) as muster:
        pages = muster.pages(muster.identities.ListMerges, pb.ListMergesRequest(mpid=mpid), service="ingest")
        found = list(islice((merge for page in pages for merge in page.merges), limit))
    if as_json:
        print_json({"merges": [as_dict(merge) for merge in found]})
        return
    rows = [
        (
            merge.merge_id,
            when(merge.create_time_ms),
            merge.mpid,
            merge.into_mpid,
            name_of(merge.type),
            f"parted {when(merge.undo_time_ms)}, now {merge.new_mpid}" if merge.undo_time_ms else "",
        )
        for merge in found
    ]
    table(["merge", "time", "person", "became one with", "by", ""], rows, right=["merge", "person", "became one with"])


@app.command("part")
def part(
    merge: Annotated[int, typer.Argument(min=1, help="The number of the merge, as `muster person merges` lists it.")],
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Part two people who became one: the identities that the one had before are a new person's from now on."""
    with Muster(Settings.load(), account) as muster:
        parted = muster.call(muster.identities.UndoMerge, pb.UndoMergeRequest(merge_id=merge), service="ingest")
        if as_json:
            print_json(as_dict(parted))
            return
        _show(muster, parted.new_mpid, as_json)
    note(f"What happened until now stays with {parted.into_mpid}.")


def _show(muster: Muster, mpid: int, as_json: bool) -> None:
    request = pb.LookUpIdentitiesRequest(mpids=[mpid])
    answers = list(muster.stream(muster.identities.LookUpIdentities, request, service="ingest"))
    found = [profile for answer in answers for profile in answer.profiles]
    if as_json:
        print_json(as_dict(found[0]) if found else {"mpid": str(mpid), "identities": []})
        return
    rows = [(name_of(identity.type), identity.value) for profile in found for identity in profile.identities]
    fields([("person", mpid), *(rows or [("identities", "none")])])
