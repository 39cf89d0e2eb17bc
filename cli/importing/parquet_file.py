"""Parquet: columns as they are, a struct's fields as columns `outer.inner`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyarrow import parquet

from cli.faults import bad_input
from cli.importing.mapping import Plan
from cli.importing.piece import PIECE_BYTES, PIECE_ROWS, Piece, Place, table_of
from cli.importing.source import Source


class ParquetFile:
    """A Parquet file. Its places are rows."""

    fixed = True
    delimiter = ""

    def __init__(self, source: Source) -> None:
        self._source = source
        try:
            with parquet.ParquetFile(source.open()) as file:
                self.size = file.metadata.num_rows
                self.columns: Sequence[str] = _flat(file.schema_arrow.empty_table()).column_names
        except (pa.ArrowException, OSError) as fault:
            raise bad_input(f"{source.name} is no Parquet file: {fault}") from None

    def pieces(self, plan: Plan, start: Place) -> Iterator[Piece]:
        """The pieces from a place on that an earlier piece ended at."""
        row = 0
        with parquet.ParquetFile(self._source.open(), pre_buffer=False, buffer_size=PIECE_BYTES) as file:
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if row + count <= start.offset:
                    row += count
                    continue
                # By row group, so that a piece is the same wherever reading begins.
                for batch in file.iter_batches(PIECE_ROWS, row_groups=[group]):
                    for part in _parts(_flat(pa.Table.from_batches([batch]))):
                        if row >= start.offset:
                            yield _piece(part, row, plan)
                        row += part.num_rows


def _piece(rows: pa.Table, first: int, plan: Plan) -> Piece:
    columns = {name: column.combine_chunks() for name, column in zip(rows.column_names, rows.columns, strict=True)}
    end = first + rows.num_rows

    def row(place: int) -> tuple[int, object]:
        return first + place + 1, rows.slice(place, 1).to_pylist()[0]

    return Piece(Place(first, first), Place(end, end), table_of(columns, {}, plan, rows.num_rows), (), row)


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    """In halves, as often as needed for each to fit into a request."""
    if rows.nbytes <= PIECE_BYTES or rows.num_rows <= 1:
        yield rows
        return
    middle = rows.num_rows // 2
    yield from _parts(rows.slice(0, middle))
    yield from _parts(rows.slice(middle))


def _flat(rows: pa.Table) -> pa.Table:
    """Without structs, and without dictionaries: what is sent is as large as it seems."""
    while any(pa.types.is_struct(field.type) for field in rows.schema):
        rows = rows.flatten()
    if any(pa.types.is_dictionary(field.type) for field in rows.schema):
        plain = [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in rows.schema]
        rows = rows.cast(pa.schema(plain))
    return rows
