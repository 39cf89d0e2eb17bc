"""`muster audit`: who changed what, and proof that nobody rewrote it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from muster.operations.v1 import audit_service_pb2 as pb

from cli.client import Muster
from cli.faults import CliFault, ExitCode, bad_input
from cli.output import AccountOption, JsonOption, note, print_json, table
from cli.settings import Settings
from services.chassis.audit import Verifier

# The services that keep a log, and what its entries are of.
_KINDS = {
    "definition": ("account", "workspace", "input", "audience", "abtest", "catalogue"),
    "forwarder": ("configuration", "connection"),
}
ServiceOption = Annotated[
    str,
    typer.Option("--service", help="Whose log: definition (accounts, audiences, tests, ...) or forwarder (configurations, connections)."),
]

app = typer.Typer(no_args_is_help=True, help="Who changed what, and proof that nobody rewrote it.")


@app.command("list")
def list_entries(
    kind: Annotated[
        str,
        typer.Option(help="Of one kind of things: account, workspace, input, audience, abtest, catalogue."),
    ] = "",
    number: Annotated[int, typer.Option("--id", min=0, help="Of the thing of this number.")] = 0,
    actor: Annotated[str, typer.Option(help="By this person.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many, the newest ones.")] = 50,
    service: ServiceOption = "",
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """List changes, the newest first."""
    service = _service(service, kind)
    request = pb.ListAuditEntriesRequest(kind=kind, thing_id=number, actor=actor, page_size=limit)
    entries = list[Any]()
    with Muster(Settings.load(), account) as muster:
        while request.page_size:
            found = muster.call(muster.audit(service).ListAuditEntries, request, service=service)
            entries += [json.loads(one.entry) for one in found.entries]
            # A page of long entries holds fewer than were asked for.
            request.page_token, request.page_size = found.next_page_token, limit - len(entries) if found.next_page_token else 0
    if as_json:
        print_json({"entries": entries})
        return
    rows = [
        (
            entry["number"],
            entry["time"][:19].replace("T", " "),
            entry["actor"],
            f"{entry['kind']} {entry['id']}",
            entry["method"].rpartition("/")[2],
            _changed(entry),
        )
        for entry in entries
    ]
    table(["entry", "time (UTC)", "by", "of", "by way of", "what"], rows, right=["entry"], empty="No changes.")


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="Where to write, a JSON object a line; `-`: standard output.")],
    after: Annotated[int, typer.Option(min=0, help="Only entries after this number.")] = 0,
    service: ServiceOption = "definition",
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the whole log, the oldest entry first: NDJSON, each line an entry with its hash."""
    service = _service(service)
    with Muster(Settings.load(), account) as muster:
        lines = (f'{{"entry":{one.entry},"hash":"{one.hash}"}}\n' for one in _entries(muster, service, after))
        if str(file) == "-":
            sys.stdout.writelines(lines)
            return
        count = 0
        with file.open("w") as out:
            for line in lines:
                out.write(line)
                count += 1
    if as_json:
        print_json({"entries": count})
    else:
        note(f"{count:,} entries written to {file}.")


@app.command("verify")
def verify(
    file: Annotated[Path | None, typer.Argument(help="An exported log; without one, the log as it is now.")] = None,
    service: ServiceOption = "definition",
    head: Annotated[str, typer.Option(help="NUMBER:HASH of an entry, as `verify` told it earlier: that one must be there as it was.")] = "",
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify that no entry was altered, left out or put in between; exit code 1 if one was."""
    known, service = _head(head), _service(service)
    verifier = Verifier()
    if file is not None:
        fault = _walk(verifier, _lines(file), known)
    else:
        with Muster(Settings.load(), account) as muster:
            fault = _walk(verifier, ((one.entry, one.hash) for one in _entries(muster, service, 0)), known)
            end = muster.call(muster.audit(service).GetAuditHead, pb.GetAuditHeadRequest(), service=service)
        if not fault and end.number < verifier.number:
            fault = f"The log says that it ends with entry {end.number}, and has more."
    if not fault and known and verifier.number < known[0]:
        fault = f"The log ends with entry {verifier.number}: entry {known[0]} is gone."
    if as_json:
        print_json({"holds": not fault, "number": str(verifier.number), "hash": verifier.hash, "fault": fault})
        if fault:
            raise typer.Exit(ExitCode.FAILED)
        return
    if fault:
        raise CliFault(f"The log does not hold: {fault}")
    note(f"{verifier.number:,} entries hold. Keep this elsewhere, for --head later:")
    print(f"{verifier.number}:{verifier.hash}")


def _service(given: str, kind: str = "") -> str:
    """The service that is meant: the one that is given, else the one that keeps things of this kind. Raises a fault for another one."""
    meant = given or next((service for service, kinds in _KINDS.items() if kind in kinds), "definition")
    if meant not in _KINDS:
        raise bad_input(f"The service {meant!r} keeps no audit log.", hint=f"These do: {', '.join(_KINDS)}.")
    return meant


def _walk(verifier: Verifier, entries: Iterable[tuple[str, str]], known: tuple[int, str] | None) -> str:
    """What is wrong first; empty if nothing is."""
    for entry, said in entries:
        if not verifier.take(entry, said):
            return verifier.fault
        if known and verifier.number == known[0] and verifier.hash != known[1]:
            return f"Entry {known[0]} is not the one that it was: the log was written anew."
    return ""


def _entries(muster: Muster, service: str, after: int) -> Iterator[pb.AuditEntry]:
    request = pb.ExportAuditEntriesRequest(after_number=after)
    for page in muster.stream(muster.audit(service).ExportAuditEntries, request, service=service):
        yield from page.entries


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """The entries of an exported log, by their own text."""
    try:
        with file.open() as lines:
            for number, line in enumerate(lines, 1):
                text = line.rstrip("\n")
                start, middle, end = '{"entry":', ',"hash":"', '"}'
                entry, found, said = text.removeprefix(start).removesuffix(end).rpartition(middle)
                if not (found and text.startswith(start) and text.endswith(end)):
                    raise bad_input(f"{file}, line {number}: that is no entry of an exported log.")
                yield entry, said
    except (OSError, UnicodeDecodeError) as fault:
        raise bad_input(f"{file} can't be read: {fault}") from None


def _head(text: str) -> tuple[int, str] | None:
    number, _, said = text.partition(":")
    if not text:
        return None
    if not number.isdecimal() or len(said) != 64:
        raise bad_input(f"{text!r} is no end of a log.", hint="Write it as `muster audit verify` told it: NUMBER:HASH.")
    return int(number), said


def _changed(entry: dict[str, Any]) -> str:
    """Which fields are others."""
    before, after = entry["before"] or {}, entry["after"] or {}
    if not entry["before"]:
        return f"made: {after.get('name', '')}"
    return ", ".join(
        key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key) and key not in ("etag", "update_time_ms")
    )
