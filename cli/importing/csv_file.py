"""CSV: values as texts, which the service reads as it reads those of the Events API, so that 19.90 keeps its digits.

Where each line is a row, Arrow reads it: see `plain_csv`. For all else the reader of the standard library knows where in the file each row
begins and ends, also where a value holds line breaks, and what is wrong with which.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from cli.faults import bad_input
from cli.importing.lines import Lines
from cli.importing.mapping import Plan
from cli.importing.piece import PIECE_BYTES, Piece, Place, Rejected, rows_of, table_of
from cli.importing.plain_csv import PlainCsv
from cli.importing.source import Source

_DELIMITERS = ",;\t|"
Row = list[str]


class CsvFile:
    """A CSV file with a header. An empty value says nothing."""

    fixed = True

    def __init__(self, source: Source, delimiter: str = "") -> None:
        self._source = source
        self.size = source.size
        with source.open_buffered() as file:
            lines = Lines(file, Place())
            first = next(lines.texts(), "")
            self.delimiter = delimiter or max(_DELIMITERS, key=first.count)
            file.seek(0)
            lines = Lines(file, Place())
            try:
                header = next(csv.reader(lines.texts(), delimiter=self.delimiter), [])
            except csv.Error as fault:
                raise bad_input(f"The header of {source.name} can't be read: {fault}") from None
            self._start = lines.place
        self.columns: Sequence[str] = [name.strip() for name in header]
        twice = [name for name in self.columns if name and self.columns.count(name) > 1]
        if not any(self.columns) or twice or lines.broken:
            wrong = f"has {twice[0]!r} twice" if twice else "is no UTF-8" if lines.broken else "is missing"
            raise bad_input(f"The header of {source.name} {wrong}: its first line must name the columns.")

    def pieces(self, plan: Plan, start: Place) -> Iterator[Piece]:
        """The pieces from a place on that an earlier piece ended at."""
        place = start if start.offset else self._start
        with self._source.open_buffered() as file, self._source.open_buffered() as again:
            plain = PlainCsv(file, self.columns, self.delimiter)
            while (piece := plain.piece(plan, place) or self._any_piece(again, plan, place)).end != place:
                yield piece
                place = piece.end

    def _any_piece(self, file: IO[bytes], plan: Plan, start: Place) -> Piece:
        lines = Lines(file, start)
        return self._piece(csv.reader(lines.texts(), delimiter=self.delimiter), lines, plan)

    def _piece(self, reader: Iterator[Row], lines: Lines, plan: Plan) -> Piece:
        start = lines.place
        rows: list[Row] = []
        # The first and the last line of each.
        numbers: list[int] = []
        ends: list[int] = []
        rejected: list[Rejected] = []
        width, most, until = len(self.columns), rows_of(len(self.columns)), start.offset + PIECE_BYTES
        number = lines.number
        while len(rows) < most and lines.offset < until:
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as fault:
                rejected.append(Rejected(number + 1, f"{fault}: is a quote missing?", []))
            else:
                if len(row) == width:
                    rows.append(row)
                    numbers.append(number + 1)
                    ends.append(lines.number)
                elif row:
                    rejected.append(Rejected(number + 1, f"has {len(row)} values; the header has {width}", row))
            number = lines.number
        if lines.broken:
            bad = {place for place, (begin, end) in enumerate(zip(numbers, ends, strict=True)) if lines.broken & set(range(begin, end + 1))}
            rejected += [Rejected(numbers[place], "is no UTF-8", rows[place]) for place in sorted(bad)]
            rows = [row for place, row in enumerate(rows) if place not in bad]
            numbers = [number for place, number in enumerate(numbers) if place not in bad]
            lines.broken.clear()
        return Piece(start, lines.place, self._table(rows, plan), rejected, lambda place: (numbers[place], rows[place]))

    def _table(self, rows: list[Row], plan: Plan) -> pa.Table | None:
        if not rows:
            return None
        columns = {}
        for name, values in zip(self.columns, zip(*rows, strict=True), strict=True):
            if name:
                column = pa.array(values, pa.string())
                columns[name] = pc.if_else(pc.equal(pc.binary_length(column), 0), pa.scalar(None, pa.string()), column)
        return table_of(columns, {}, plan, len(rows))
