"""A piece of a file: what every reader makes, and the columns of Arrow that it is sent as."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from cli.importing.fields import SKIP
from cli.importing.mapping import Plan

# As many as a request takes.
PIECE_ROWS = 10_000
# A cell takes four bytes also where it holds nothing.
PIECE_CELLS = 2_000_000
# Of a file of text; as a table of Arrow it stays below what a request takes.
PIECE_BYTES = 6 * 1024 * 1024

_DIGITS_BEYOND_MS = {"us": 3, "ns": 6}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file goes on: in bytes or, in Parquet, in rows; and how many lines, or rows, are before it."""

    offset: int = 0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is not kept: its line, or its number, from 1; why; and the row as it stands in the file."""

    line: int
    reason: str
    row: Any


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the file that is the same whenever it is read."""

    start: Place
    end: Place
    # None: there is nothing to send.
    table: pa.Table | None
    # Rows that can't be sent.
    rejected: Sequence[Rejected]
    # Of a row of the table: its line, or number, and itself.
    row: Callable[[int], tuple[int, Any]]

    @property
    def rows(self) -> int:
        """How many rows of the file it has, good and bad."""
        return len(self.rejected) + (self.table.num_rows if self.table is not None else 0)


def rows_of(columns: int) -> int:
    """How many rows of so many columns a piece has at most."""
    return max(1, min(PIECE_ROWS, PIECE_CELLS // max(1, columns)))


class Reader(Protocol):
    """A file of one format. `size` is in the unit of its places; `columns` are the file's or, not `fixed`, those of its first rows.

    `delimiter` is that of CSV; empty: no CSV.
    """

    size: int
    columns: Sequence[str]
    fixed: bool
    delimiter: str

    def pieces(self, plan: Plan, start: Place) -> Iterator[Piece]:
        """The pieces from a place on that an earlier piece ended at."""
        ...


def table_of(columns: Mapping[str, Any], kinds: Mapping[str, str], plan: Plan, count: int) -> pa.Table:
    """The table that is sent, of the columns of a file. `kinds` are those of columns whose texts are numbers or JSON."""
    fields: list[Any] = []
    arrays: list[Any] = []
    for name, column in columns.items():
        target = plan.target(name)
        if target.field == SKIP:
            continue
        if target.unit and target.unit != "ms":
            column = _from_unit(column, target.unit)
        elif target.format:
            column = _from_format(column, target.format)
        metadata = {"muster.kind": kinds[name]} if name in kinds else None
        fields.append(pa.field(target.field, column.type, metadata=metadata))
        arrays.append(column)
    for name, value in plan.mapping.values.items():
        fields.append(pa.field(name, pa.string()))
        arrays.append(pa.repeat(value, count))
    if not arrays:
        # A table without columns has no rows; these are refused, as they name nobody.
        fields, arrays = [pa.field("mpid", pa.int64())], [pa.nulls(count, pa.int64())]
    return pa.table(arrays, schema=pa.schema(fields))


def _from_unit(column: Any, unit: str) -> Any:
    """Milliseconds as text. What is no number stays as it is, and is refused by the service."""
    texts = column.cast(pa.string())
    cut = _DIGITS_BEYOND_MS.get(unit)
    whole = pc.match_substring_regex(texts, r"^[0-9]{1,18}(\.[0-9]+)?$" if cut is None else r"^[0-9]{10,}$")
    numbers = pc.if_else(whole, texts, pa.scalar(None, pa.string()))
    if cut is None:
        instants = pc.multiply(numbers.cast(pa.float64()), 1000.0).cast(pa.int64(), safe=False).cast(pa.string())
    else:
        instants = pc.utf8_slice_codeunits(numbers, 0, -cut)
    return pc.coalesce(instants, texts)


def _from_format(column: Any, format: str) -> Any:
    """ISO 8601. What is written otherwise stays as it is, and is refused by the service."""
    texts = column.cast(pa.string())
    read = pc.strptime(texts, format=format, unit="ms", error_is_null=True)
    return pc.coalesce(read.cast(pa.int64()).cast(pa.string()), texts)
