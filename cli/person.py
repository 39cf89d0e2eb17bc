"""`muster person`: who is who, and what becomes of what is held of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer
from muster.ingest.v1 import identity_pb2
from muster.ingest.v1 import ingest_service_pb2 as pb

from cli.client import Muster
from cli.faults import CliFault, bad_input
from cli.output import AccountOption, JsonOption, as_dict, console, count, fields, note, print_json, table, when, word
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Who is who, and the rights of people.")

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


@app.command("export")
def export(
    mpid: MpidArgument,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; otherwise standard output.")] = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all that is held of a person, as one JSON document."""
    with Muster(Settings.load(), account) as muster:
        pieces = (part.chunk for part in muster.stream(muster.privacy.ExportProfile, pb.ExportProfileRequest(mpid=mpid), service="ingest"))
        first = next(pieces)  # a fault comes before the file is made
        if output is None:
            for piece in chain([first], pieces):
                sys.stdout.buffer.write(piece)
            sys.stdout.flush()
            return
        try:
            # Whole or not at all, and nobody else's to read.
            with NamedTemporaryFile(dir=output.parent, delete=False) as file:
                try:
                    for piece in chain([first], pieces):
                        file.write(piece)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            Path(file.name).replace(output)
        except OSError as fault:
            raise bad_input(f"The file can't be written: {fault}") from None
    if as_json:
        print_json({"output": str(output)})
    else:
        note(f"Written to {output}.")


@app.command("erase")
def erase(
    mpid: Annotated[int, typer.Argument(metavar="[MPID]", help="Before a negative one comes `--`.")] = 0,
    identity: Annotated[tuple[str, str] | None, typer.Option(metavar="TYPE VALUE", help="Whoever has it, in place of an MPID.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait_seconds: Annotated[float, typer.Option(min=0, help="How long to wait for all receipts.")] = 60,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove all that is held of a person, here and at partners; for good. Exit code 1: not all receipts are there yet."""
    if bool(mpid) == bool(identity):
        raise bad_input("Whom? Give an MPID, or --identity TYPE VALUE.")
    request = pb.CreateErasureRequest(mpid=mpid) if mpid else pb.CreateErasureRequest()
    if identity:
        request.identity.type, request.identity.value = type_of(identity[0]), identity[1]
    if not yes and not typer.confirm("This can't be undone. Erase the person?", err=True):
        raise CliFault("Nobody was erased.")
    with Muster(Settings.load(), account) as muster:
        erasure = muster.call(muster.privacy.CreateErasure, request, service="ingest")
        end = time.monotonic() + wait_seconds
        while erasure.state == pb.ERASURE_STATE_RUNNING and time.monotonic() < end:
            time.sleep(0.25)
            asking = pb.GetErasureRequest(erasure_id=erasure.erasure_id)
            erasure = muster.call(muster.privacy.GetErasure, asking, service="ingest")
    _show_erasures([erasure], as_json)
    if erasure.state == pb.ERASURE_STATE_RUNNING:
        raise CliFault(f"Still waiting for {' and '.join(erasure.waiting_for)}.", hint="`muster person erasures` tells when they are done.")


@app.command("erasures")
def erasures(
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20, account: AccountOption = None, as_json: JsonOption = False
) -> None:
    """List erasures with their receipts, the latest first."""
    with Muster(Settings.load(), account) as muster:
        pages = muster.pages(muster.privacy.ListErasures, pb.ListErasuresRequest(), service="ingest")
        found = list(islice((erasure for page in pages for erasure in page.erasures), limit))
    _show_erasures(found, as_json)


def _show_erasures(found: Sequence[pb.Erasure], as_json: bool) -> None:
    if as_json:
        print_json({"erasures": [as_dict(erasure) for erasure in found]})
        return
    for erasure in found:
        done = f"done {when(erasure.finish_time_ms)}" if erasure.finish_time_ms else f"waits for {' and '.join(erasure.waiting_for)}"
        console.print(f"[bold]erasure {erasure.erasure_id}[/] of {erasure.mpid}, asked for {when(erasure.create_time_ms)}, {done}")
        rows = [(one.service, count(one.removed), ", ".join(one.places), when(one.time_ms)) for one in erasure.receipts]
        table(["service", "records", "where", "done"], rows, right=["records"], empty="No receipt yet.")
    if not found:
        console.print("None.")


def _show(muster: Muster, mpid: int, as_json: bool) -> None:
    request = pb.LookUpIdentitiesRequest(mpids=[mpid])
    answers = list(muster.stream(muster.identities.LookUpIdentities, request, service="ingest"))
    found = [profile for answer in answers for profile in answer.profiles]
    if as_json:
        print_json(as_dict(found[0]) if found else {"mpid": str(mpid), "identities": []})
        return
    rows = [(name_of(identity.type), identity.value) for profile in found for identity in profile.identities]
    fields([("person", mpid), *(rows or [("identities", "none")])])
