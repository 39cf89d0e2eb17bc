"""One call of `muster import`: what is to be sent is found, sent, remembered and told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cli.client import Muster
from cli.faults import CliFault, ExitCode, bad_input
from cli.importing import source, state
from cli.importing.fields import SKIP
from cli.importing.format import Format, format_of
from cli.importing.mapping import Mapping, Plan, plan, read_mapping
from cli.importing.piece import Piece, Reader, Rejected
from cli.importing.readers import reader_of
from cli.importing.rejects import Rejects
from cli.importing.sending import Answered, Sending
from cli.output import count, fields, note, print_json
from cli.settings import Settings
from services.chassis.errors import FieldViolation

# How long it waits for a service that is away, as one that is restarted.
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked for."""

    file: str
    input_id: int
    mapping: Path | None
    format: Format | None
    delimiter: str
    rejects: Path | None
    dry_run: bool
    again: bool
    account_id: int | None
    as_json: bool


def run(call: Call) -> None:
    """Do it. Raises CliFault, or Exit where rows were refused."""
    if len(call.delimiter) > 1 and call.delimiter != "\\t":
        raise bad_input("--delimiter is one character, or \\t.")
    settings = Settings.load()
    told = read_mapping(call.mapping) if call.mapping else Mapping()
    kind = format_of(call.file, call.format)
    found = source.find(call.file)
    reader = reader_of(found, kind, call.delimiter.replace("\\t", "\t"))
    made = plan(told, reader.columns, fixed=reader.fixed)
    beside = Path(PurePosixPath(found.path).name) if "://" in call.file else Path(call.file)
    ending = f"{'.dry-run' if call.dry_run else ''}.rejects.{Format.CSV if kind is Format.CSV else Format.NDJSON}"
    side = call.rejects or beside.with_name(beside.name + ending)
    refused = Rejects(side, reader)
    # Whatever makes other pieces, or sends them otherwise, makes another import.
    id = blake2b(repr((found.identity, call.input_id, kind, reader.delimiter, made.digest)).encode(), digest_size=16).hexdigest()
    kept = state.State(settings.data_dir / "imports", id)
    done = state.Progress(file=call.file, service=settings.address("ingest"))
    earlier = None if call.dry_run else kept.load()
    if earlier is not None:
        if call.again:
            done.run = earlier.run + 1
        elif earlier.service == done.service:
            done = earlier
    if not call.as_json:
        _tell_plan(made, reader)
    if done.finished:
        note(f"This file was imported already, with this mapping, into input {call.input_id}: --again imports it once more.")
    elif done.rows:
        note(f"Goes on after {count(done.rows)} rows of an import that was stopped.")
    refused.cut(done.rejects_bytes)
    with Muster(settings, call.account_id) as muster:
        sending = Sending(muster, call.input_id, f"{id}-{done.run}", validate_only=call.dry_run, patience_seconds=_PATIENCE_SECONDS)
        work = _Run(done, refused, None if call.dry_run else kept)
        if not done.finished:
            with _bar(reader.size, done, shown=not call.as_json) as bar:
                work.all(sending.answers(reader.pieces(made, done.place)), bar)
    work.tell(as_json=call.as_json, dry_run=call.dry_run)
    if done.accepted < done.rows:
        raise typer.Exit(ExitCode.FAILED)


class _Bar(Protocol):
    """What shows how far it is."""

    def at(self, done: state.Progress) -> None: ...


@dataclass
class _Run:
    """One call of the command."""

    done: state.Progress
    refused: Rejects
    kept: state.State | None
    seconds: float = 0.0
    rows: int = 0

    def all(self, answers: Iterator[Answered], bar: _Bar) -> None:
        """Take every answer, and remember it before the next."""
        begin = time.monotonic()
        try:
            for piece, answer in answers:
                self._take(piece, answer)
                bar.at(self.done)
        except KeyboardInterrupt:
            raise CliFault("Stopped.", hint="Called again, the import goes on where it was.") from None
        self.done.finished = True
        if self.kept is not None:
            self.kept.save(self.done)
        self.seconds = time.monotonic() - begin

    def _take(self, piece: Piece, answer: Any) -> None:
        whole = [fault for fault in answer.faults if fault.row < 0]
        if whole:
            raise CliFault(
                "The file can't be imported as it is mapped.",
                exit_code=ExitCode.BAD_INPUT,
                violations=[FieldViolation(fault.field, fault.description, fault.reason) for fault in whole],
                hint="A mapping file names another field for a column, or leaves it out with `skip`.",
            )
        reasons: dict[int, list[str]] = {}
        for fault in answer.faults:
            column = fault.field.removeprefix(f"rows[{fault.row}]").removeprefix(".")
            reasons.setdefault(fault.row, []).append(f"{column} {fault.description}".strip())
            self.done.reasons[fault.reason] = self.done.reasons.get(fault.reason, 0) + 1
        bad = [Rejected(*_line_and_row(piece, row, why)) for row, why in reasons.items()]
        if piece.rejected:
            self.done.reasons["MALFORMED"] = self.done.reasons.get("MALFORMED", 0) + len(piece.rejected)
        bad = sorted([*bad, *piece.rejected], key=lambda one: one.line)
        self.done.rejects_bytes = self.refused.write(bad)
        self.done.rows += piece.rows
        self.done.accepted += answer.accepted_rows
        self.done.offset, self.done.line = piece.end.offset, piece.end.line
        self.rows += piece.rows
        if self.kept is not None:
            self.kept.save(self.done)

    def tell(self, *, as_json: bool, dry_run: bool) -> None:
        """What came of it."""
        done = self.done
        refused = done.rows - done.accepted
        rate = round(self.rows / self.seconds) if self.seconds else 0
        side = str(self.refused.path) if refused else ""
        if as_json:
            print_json(
                {
                    "file": done.file,
                    "dry_run": dry_run,
                    "rows": done.rows,
                    "accepted_rows": done.accepted,
                    "refused_rows": refused,
                    "reasons": done.reasons,
                    "rejects": side,
                    "seconds": round(self.seconds, 3),
                    "rows_per_second": rate,
                }
            )
            return
        words = "good" if dry_run else "imported"
        fields(
            [
                (words, f"{count(done.accepted)} of {count(done.rows)} rows"),
                ("refused", ", ".join(f"{count(number)} {reason}" for reason, number in done.reasons.items()) if refused else ""),
                ("refused rows", side),
                ("time", f"{self.seconds:.1f} s, {count(rate)} rows/s" if self.rows else ""),
            ]
        )


def _line_and_row(piece: Piece, row: int, why: list[str]) -> tuple[int, str, Any]:
    line, text = piece.row(row)
    return line, "; ".join(why), text


def _tell_plan(made: Plan, reader: Reader) -> None:
    targets = [(column, made.target(column).field) for column in reader.columns]
    shown = [f"{column} → {field}" if field != SKIP else f"{column} is left out" for column, field in targets if column]
    note("; ".join([*shown, *(f"{field} is {value!r}" for field, value in made.mapping.values.items())]))


@contextmanager
def _bar(size: int, done: state.Progress, *, shown: bool) -> Iterator[_Bar]:
    console = Console(stderr=True)
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not shown or not console.is_terminal) as progress:
        task = progress.add_task("", total=size, completed=done.offset, said="")
        begin, before = time.monotonic(), done.rows

        class Shown:
            def at(self, done: state.Progress) -> None:
                rate = (done.rows - before) / max(1e-3, time.monotonic() - begin)
                refused = done.rows - done.accepted
                said = f"{count(done.rows)} rows, {count(round(rate))} rows/s" + (f", {count(refused)} refused" if refused else "")
                progress.update(task, completed=done.offset, said=said)

        yield Shown()
