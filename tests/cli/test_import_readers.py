"""Files in pieces: whatever a file holds, each of its rows is in one piece, and a piece is the same wherever reading begins."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from cli.importing import parquet_file, piece, source
from cli.importing.csv_file import CsvFile
from cli.importing.format import Format
from cli.importing.mapping import Mapping, plan
from cli.importing.piece import Piece, Place, Reader
from cli.importing.readers import reader_of
from cli.importing.source import Source

# What CSV has a meaning for, beside letters of every length in UTF-8.
VALUES = st.text(alphabet=st.sampled_from('ab ,;"\n\r\té€😀'), max_size=6)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (piece, parquet_file):
        monkeypatch.setattr(module, "PIECE_ROWS", 3)


def reader(body: bytes, format: Format, delimiter: str = "") -> Reader:
    """The reader of a file that holds this."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        found = source.find(file.name)
    return reader_of(Source("x", Held(body), "x", found.size, found.identity), format, delimiter)


class Held:
    """A file system of one file, in memory."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def open_input_file(self, path: str) -> Any:
        return pa.BufferReader(self._body)


def pieces(of: Reader) -> list[Piece]:
    """All pieces, each read once more from the end of the one before it."""
    made = plan(Mapping(columns={}, others="user_attributes."), ["email", *of.columns], fixed=of.fixed)
    found = list(of.pieces(made, Place()))
    for one, following in zip([None, *found], found, strict=False):
        if one is not None:
            again = next(iter(of.pieces(made, one.end)))
            assert (again.start, again.end) == (following.start, following.end)
            assert (again.table is None) == (following.table is None)
            assert again.table is None or again.table.equals(following.table)
            assert again.rejected == following.rejected
    return found


def rows_of(found: list[Piece]) -> list[dict[str, Any]]:
    """The values of all rows, without nulls."""
    tables = [one.table.to_pylist() for one in found if one.table is not None]
    return [{name.partition(".")[2]: value for name, value in row.items() if value is not None} for table in tables for row in table]


@settings(deadline=None)
@given(
    st.lists(st.lists(VALUES, min_size=3, max_size=3), max_size=12),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_csv_is_read_as_it_was_written(rows: list[list[str]], quoting: Any, delimiter: str, end: str) -> None:
    if end == "\n" and quoting == csv.QUOTE_MINIMAL:
        # Its writer leaves a lone carriage return without quotes, and then it is the end of a line.
        rows = [[value.replace("\r", "") for value in row] for row in rows]
    written = io.StringIO()
    writer = csv.writer(written, quoting=quoting, delimiter=delimiter, lineterminator=end)
    begins = []
    for row in [["x", "y", "z"], *rows]:
        begins.append(written.getvalue().count("\n") + 1)
        writer.writerow(row)
    found = pieces(reader(written.getvalue().encode(), Format.CSV, delimiter))
    assert not any(one.rejected for one in found)
    said = [{name: value for name, value in zip("xyz", row, strict=True) if value} for row in rows]
    assert rows_of(found) == said
    # A row is told as it stands, also where others of its piece were read by Arrow.
    told = [one.row(place) for one in found if one.table is not None for place in range(one.table.num_rows)]
    assert told == list(zip(begins[1:], rows, strict=True))


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 3))
def test_whatever_a_csv_file_holds_all_of_it_is_read_once(junk: bytes, rows: int) -> None:
    body = b"x,y\n" + b"1,2\n" * rows + junk + b"\n3,4\n"
    found = pieces(reader(body, Format.CSV))
    assert found[-1].end.offset == len(body)
    assert [one.end for one in found[:-1]] == [one.start for one in found[1:]]
    assert {"x": "1", "y": "2"} in rows_of(found) or not rows


def test_plain_pieces_are_read_by_arrow_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    slow: list[Place] = []
    any_piece = CsvFile._any_piece

    def slowly(self: CsvFile, file: Any, plan: Any, start: Place) -> Piece:
        slow.append(start)
        return any_piece(self, file, plan, start)

    monkeypatch.setattr(CsvFile, "_any_piece", slowly)
    body = b'x,y\n1,"2"\n3,4\n5,6\n7,"\n"\n8,9\n10,11\n12,13\n'
    found = pieces(reader(body, Format.CSV))
    assert [row["x"] for row in rows_of(found)] == ["1", "3", "5", "7", "8", "10", "12"]
    # The second piece has a line break in a value; beyond the last one there is nothing.
    assert {place.line for place in slow} == {4, 9}


def test_a_piece_of_many_columns_has_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece, "PIECE_CELLS", 7)
    plain = pieces(reader(b"x,y,z\n" + b"1,2,3\n" * 5, Format.CSV))
    other = pieces(reader(b"x,y,z\n" + b'1,2,"\n"\n' * 5, Format.CSV))
    objects = pieces(reader(b'{"x":1}\n' + b'{"x":1,"y":2,"z":3}\n' * 4, Format.NDJSON))
    assert [one.rows for one in plain] == [one.rows for one in other] == [one.rows for one in objects] == [2, 2, 1]


JSON_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2),
    st.text('ab\n"é'),
    st.lists(st.text("ab"), max_size=2),
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("xyz"), JSON_VALUES), min_size=1, max_size=8))
def test_ndjson_keeps_every_value_with_its_digits(rows: list[dict[str, Any]]) -> None:
    def shown(value: Any) -> str:
        return str(value) if isinstance(value, Decimal) else json.dumps(value)

    body = "".join("{" + ",".join(f'"{name}":{shown(value)}' for name, value in row.items()) + "}\n" for row in [*rows, {"x": 1}])
    of = reader(body.encode(), Format.NDJSON)
    found = pieces(of)
    told: list[dict[str, str]] = []
    for one in found:
        assert one.table is not None
        for row in one.table.to_pylist():
            kinds = {field.name: (field.metadata or {}).get(b"muster.kind") for field in one.table.schema}
            told.append(
                {
                    name.partition(".")[2]: value if kinds[name] else json.dumps(value, ensure_ascii=False)
                    for name, value in row.items()
                    if value is not None
                }
            )
    wanted = [{name: value for name, value in row.items() if value is not None} for row in [*rows, {"x": 1}]]
    assert [{name: json.loads(text, parse_float=Decimal, parse_int=Decimal) for name, text in row.items()} for row in told] == [
        {name: Decimal(value) if type(value) is int else value for name, value in row.items()} for row in wanted
    ]


def test_pieces_of_parquet_begin_anew_with_each_group_and_are_small_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet.write_table(
        pa.table({"x": range(8), "y": pa.array(["long" * 10] * 8).dictionary_encode()}), tmp_path / "x.parquet", row_group_size=5
    )
    of = reader_of(source.find(str(tmp_path / "x.parquet")), Format.PARQUET, "")
    assert [(one.start.offset, one.end.offset) for one in pieces(of)] == [(0, 3), (3, 5), (5, 8)]
    assert [one.row(0)[0] for one in pieces(of)] == [1, 4, 6]
    monkeypatch.setattr(parquet_file, "PIECE_BYTES", 80)
    assert [row["x"] for row in rows_of(pieces(of))] == list(range(8))
    assert len(pieces(of)) == 8
