"""Plain CSV, a row a line, read by Arrow: many times as fast as what can read every file.

Whether a piece is plain depends on nothing but its bytes, so it is the same whenever it is read.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from cli.importing.mapping import Plan
from cli.importing.piece import PIECE_BYTES, Piece, Place, rows_of, table_of

_READ_BYTES = 1024 * 1024
_NEWLINE, _QUOTE, _RETURN = b'\n"\r'


class PlainCsv:
    """Reads plain pieces of a CSV file, one after the other."""

    def __init__(self, file: IO[bytes], columns: Sequence[str], delimiter: str) -> None:
        self._file = file
        self._columns = columns
        self._delimiter = delimiter
        # The bytes from `_offset` on that are read already.
        self._data = b""
        self._offset = 0

    def piece(self, plan: Plan, start: Place) -> Piece | None:
        """The piece from a place on; None: it is not plain."""
        lines = self._lines(start.offset)
        if lines is None:
            return None
        data, ends = lines
        options = arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(self._columns, pa.string()), strings_can_be_null=True, null_values=[""]
        )
        try:
            rows = arrow_csv.read_csv(
                pa.py_buffer(data),
                read_options=arrow_csv.ReadOptions(use_threads=False, column_names=self._columns, block_size=len(data) + 1),
                parse_options=arrow_csv.ParseOptions(delimiter=self._delimiter, ignore_empty_lines=False),
                convert_options=options,
            )
        except pa.ArrowException:
            return None
        if rows.num_rows != len(ends):
            return None
        columns = {name: column.combine_chunks() for name, column in zip(self._columns, rows.columns, strict=True) if name}
        end = Place(start.offset + len(data), start.line + len(ends))

        def row(place: int) -> tuple[int, list[str]]:
            line = data[ends[place - 1] if place else 0 : ends[place]].decode()
            return start.line + place + 1, next(csv.reader([line], delimiter=self._delimiter))

        return Piece(start, end, table_of(columns, {}, plan, rows.num_rows), (), row)

    def _lines(self, offset: int) -> tuple[bytes, list[int]] | None:
        """The lines of a piece and where each ends; None: a line is no row."""
        self._data = self._data[offset - self._offset :] if self._offset <= offset <= self._offset + len(self._data) else b""
        self._offset = offset
        self._file.seek(offset + len(self._data))
        most = rows_of(len(self._columns))
        while True:
            found = np.frombuffer(self._data, np.uint8)
            ends = np.flatnonzero(found == _NEWLINE)[:most] + 1
            if len(ends) == most or len(self._data) >= PIECE_BYTES:
                break
            more = self._file.read(_READ_BYTES)
            if not more:
                if self._data and not self._data.endswith(b"\n"):
                    ends = np.append(ends, len(self._data))
                break
            self._data += more
        if not len(ends):
            return None
        data = self._data[: int(ends[-1])]
        if _RETURN in data and data.count(b"\r") != data.count(b"\r\n"):
            return None
        if _QUOTE in data:
            # A line break within quotes leaves a line with an odd number of them.
            before = np.cumsum(found[: len(data)] == _QUOTE)[ends - 1]
            if (before % 2).any():
                return None
        # A line without anything in it is no row.
        if ends[0] == 1 or (np.diff(ends) <= 1).any() or data.startswith(b"\r\n") or b"\n\r\n" in data:
            return None
        return data, ends.tolist()
