"""`muster import`, against real services: each row of a file is in the stream exactly once, or named."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from cli import devfile
from cli.importing import run as importing
from services.chassis.bus import Bus
from tests.cli.running import ROOT, Result, Run
from tests.fakes.s3 import serving_s3
from tests.fakes.waiting import eventually
from tests.ingest.conftest import Stream, Told, read_stream

NOW = int(time.time() * 1000)


@pytest.fixture
def input_id(live: Run) -> int:
    """An input that ingest knows."""
    workspace = live("workspace", "create", "Shop", "--json").document["workspace_id"]
    made = live("input", "create", "Files", "--workspace", workspace, "--feed", "--json").document
    return int(made["input"]["input_id"])


@pytest.fixture
def imported(live: Run, input_id: int, tmp_path: Path) -> Callable[..., Result]:
    """Import a file; `name` is its name, `text` what it holds."""

    def run(name: str, text: str | bytes | None = None, *options: object, mapping: str = "") -> Result:
        path = tmp_path / name
        if text is not None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        if mapping:
            (tmp_path / "mapping.yaml").write_text(mapping)
            options = (*options, "--mapping", tmp_path / "mapping.yaml")
        for _ in range(100):
            # Ingest hears of an input a moment after it was made.
            done = live("import", path, "--input", input_id, *options)
            if "no active input" not in done.err:
                return done
            time.sleep(0.1)
        return done

    return run


async def told(installation: Path, input_id: int) -> Stream:
    """What is in the stream of an input."""
    known = devfile.read(installation)
    assert known is not None
    bus = Bus(known.nats_url, name="test")
    await bus.start()
    try:
        stream = await read_stream(bus)
    finally:
        await bus.stop()
    stream.events = [event for event in stream.events if event.input_id == input_id]
    stream.changes = [change for change in stream.changes if change.input_id == input_id]
    return stream


def attributes(event: Told) -> Any:
    return event.details["attributes"]


async def test_a_csv_file_of_events_arrives(imported: Callable[..., Result], installation: Path, input_id: int) -> None:
    text = (
        "Email,Event,Timestamp,Price,Note\r\n"
        'Ada@Example.com,Purchase,2026-01-02T03:04:05Z,19.90,"two\nlines, ""quoted"""\r\n'
        "bob@example.com,Viewed,1767323045678,,\r\n"
    )
    done = imported("events.csv", "\ufeff" + text, "--json")
    assert done.exit_code == 0, done.err
    assert (done.document["rows"], done.document["accepted_rows"], done.document["rejects"]) == (2, 2, "")
    stream = await told(installation, input_id)
    purchase, viewed = sorted(stream.events, key=lambda event: event.name)
    assert attributes(purchase) == {"Price": "19.90", "Note": 'two\nlines, "quoted"'}
    assert (purchase.time_ms, viewed.time_ms, viewed.details) == (1_767_323_045_000, 1_767_323_045_678, {})
    assert {one.value for change in stream.changes for one in change.added_identities} == {"ada@example.com", "bob@example.com"}


async def test_rows_without_events_are_what_people_are_now(imported: Callable[..., Result], installation: Path, input_id: int) -> None:
    done = imported("people.tsv", "user_id\tplan\tcity\nu-1\tgold\t\nu-2\t\tOslo\n")
    assert done.exit_code == 0, done.err
    assert "2 of 2 rows" in done.out
    assert "plan → user_attributes.plan" in done.err
    stream = await told(installation, input_id)
    assert stream.events == []
    seen = {
        change.added_identities[0].value: {name: one.string_value for name, one in change.set_attributes.items()}
        for change in stream.changes
    }
    assert seen == {"u-1": {"plan": "gold"}, "u-2": {"city": "Oslo"}}


async def test_a_mapping_says_what_columns_become(imported: Callable[..., Result], installation: Path, input_id: int) -> None:
    mapping = """
columns:
  Client: customer_id
  When: {field: time, format: "%d/%m/%Y %H:%M"}
  Plan: user_attributes.plan
  Secret: skip
values:
  event_name: Visited
others: attributes
"""
    done = imported("x.csv", "Client;When;Plan;Secret;Shop\nc-1;02/01/2026 03:04;gold;s;north\nc-2;soon;;;\n", mapping=mapping)
    assert done.exit_code == 1, done.err
    stream = await told(installation, input_id)
    (event,) = stream.events
    assert (event.name, event.time_ms, attributes(event)) == ("Visited", 1_767_323_040_000, {"Shop": "north"})
    assert stream.changes[0].set_attributes["plan"].string_value == "gold"


AUDIENCE = """{"root": {"all": {"nodes": [
  {"criterion": {"event": {"match": {"type": "EVENT_TYPE_CUSTOM", "name": "Purchase", "where": [
     {"attribute": "price", "test": {"number": {"comparison": "COMPARISON_GREATER_OR_EQUAL", "value": "19.90"}}},
     {"attribute": "shop", "test": {"string": {"operator": "STRING_OPERATOR_EQUALS", "value": "north"}}}]}}}},
  {"criterion": {"user_attribute": {"attribute": "plan", "test": {"string": {"operator": "STRING_OPERATOR_EQUALS", "value": "gold"}}}}}
]}}}"""


async def test_an_audience_counts_those_whom_the_files_tell_of(imported: Callable[..., Result], live: Run) -> None:
    workspace = live("workspace", "list", "--json").document["workspaces"][0]["workspace_id"]
    audience = live(
        "audience", "create", "A", "--workspace", workspace, "--definition", "-", "--activate", "--json", stdin=AUDIENCE
    ).document
    at = datetime.now(UTC).isoformat()
    people = "".join(f"c-{number},{'gold' if number % 2 else 'silver'}\n" for number in range(2000))
    assert imported("people.csv", f"customer_id,plan\n{people}").exit_code == 0
    events = "".join(f"c-{number},Purchase,{at},{number}.90,{'north' if number % 3 else 'south'}\n" for number in range(2000))
    assert imported("events.csv", f"customer_id,event,time,price,shop\n{events}").exit_code == 0
    size = len([number for number in range(2000) if number >= 19 and number % 2 and number % 3])

    async def counted() -> bool:
        shown = await asyncio.to_thread(live, "audience", "show", audience["audience_id"], "--json")
        return bool(shown.document["statistics"]["size"] == str(size))

    await eventually(counted)


@pytest.mark.parametrize(
    ("unit", "text"), [("s", "1767323045"), ("s", "1767323045.678"), ("us", "1767323045678000"), ("ns", "1767323045678000000")]
)
async def test_times_are_read_in_their_unit(
    imported: Callable[..., Result], installation: Path, input_id: int, unit: str, text: str
) -> None:
    mapping = f"columns:\n  at: {{field: time, unit: {unit}}}\n"
    assert imported("x.csv", f"email,event,at\na@b.c,x,{text}\n", mapping=mapping).exit_code == 0
    (event,) = (await told(installation, input_id)).events
    assert event.time_ms // 1000 == 1_767_323_045


async def test_ndjson_keeps_numbers_as_numbers_with_their_digits(
    imported: Callable[..., Result], installation: Path, input_id: int
) -> None:
    rows = [
        '{"customer_id": 7, "event": "x", "price": 19.90, "count": 5, "gift": true, "tags": ["a", "é"], "any": "text"}',
        '{"customer_id": "8", "event": "x", "price": 5, "count": null, "any": 1.50, "attributes": {"inner": 1}}',
        "",
        '{"customer_id": 9, "event": "x", "price": 12345678901234567890.5, "any": [ "l" ], "user_attributes": {"plan": "gold"}}',
    ]
    done = imported("x.ndjson", "\n".join(rows) + "\n")
    assert done.exit_code == 0, done.err + done.out
    stream = await told(installation, input_id)
    seen = {event.mpid: attributes(event) for event in stream.events}
    by_customer = {one.value: seen[change.mpid] for change in stream.changes for one in change.added_identities}
    assert by_customer == {
        "7": {"price": "19.90", "count": 5, "gift": True, "tags": ["a", "é"], "any": "text"},
        "8": {"price": 5, "any": "1.50", "inner": 1},
        "9": {"price": "12345678901234567890.5", "any": ["l"]},
    }
    (plan,) = [change.set_attributes["plan"].string_value for change in stream.changes if change.set_attributes]
    assert plan == "gold"


async def test_a_parquet_file_arrives_with_its_types(
    imported: Callable[..., Result], installation: Path, input_id: int, tmp_path: Path
) -> None:
    count = 25_000
    table = pa.table(
        {
            "email": pa.array([f"{row % 1000}@b.c" for row in range(count)]).dictionary_encode(),
            "event_name": ["x"] * count,
            "timestamp": pa.array([NOW - row for row in range(count)], pa.timestamp("ms", "UTC")),
            "row": range(count),
            "price": pa.array([Decimal("19.90")] * count, pa.decimal128(10, 2)),
            "user_attributes": [{"n": row} if row < 3 else None for row in range(count)],
        }
    )
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=11_000)
    done = imported("x.parquet", None, "--json")
    assert done.exit_code == 0, done.err
    assert done.document["accepted_rows"] == count
    stream = await told(installation, input_id)
    assert sorted(attributes(event)["row"] for event in stream.events) == list(range(count))
    assert {attributes(event)["price"] for event in stream.events} == {"19.90"}
    assert {event.time_ms + attributes(event)["row"] for event in stream.events} == {NOW}


async def test_refused_rows_are_written_with_line_and_reason_and_can_be_mended(
    imported: Callable[..., Result], installation: Path, input_id: int, tmp_path: Path
) -> None:
    text = b'email,event,time,price\na@b.c,"x\ny",,1\n,x,,2\nd@e.f,x,yesterday,3\ng@h.i,x\n\nj@k.l,x,,\xff\nm@n.o,y,,5\n'
    done = imported("x.csv", text)
    assert done.exit_code == 1
    assert "2 of 6 rows" in done.out
    with (tmp_path / "x.csv.rejects.csv").open() as file:
        assert [list(row.values()) for row in csv.DictReader(file)] == [
            ["", "x", "", "2", "4", "names nobody: give an mpid or an identity"],
            ["d@e.f", "x", "yesterday", "3", "5", "time must be a timestamp, a date, whole milliseconds since 1970, or text in ISO 8601"],
            ["g@h.i", "x", "", "", "6", "has 2 values; the header has 4"],
            ["j@k.l", "x", "", "\ufffd", "8", "is no UTF-8"],
        ]
    assert (tmp_path / "x.csv.rejects.csv").stat().st_mode & 0o077 == 0
    mended = (
        (tmp_path / "x.csv.rejects.csv").read_text().replace("yesterday", "2026-01-02").replace("\n,x", "\np@q.r,x").replace("\ufffd", "6")
    )
    assert imported("mended.csv", mended).exit_code == 0
    events = (await told(installation, input_id)).events
    assert sorted(event.details.get("attributes", {}).get("price", "") for event in events) == ["", "1", "2", "3", "5", "6"]
    assert {name for event in events for name in event.details.get("attributes", ())} == {"price"}


async def test_refused_lines_of_ndjson_are_written_as_they_stand(imported: Callable[..., Result], tmp_path: Path) -> None:
    lines = [
        '{"email": "a@b.c", "event": "x", "n": 19.90}',
        "{broken",
        '{"email": true, "event": "x"}',
        '{"event": "x", "n": 19.90}',
        '["a"]',
        '{"email": "\\ud800", "event": "x"}',
    ]
    done = imported("x.jsonl", "\n".join(lines), "--json")
    assert (done.exit_code, done.document["accepted_rows"], done.document["refused_rows"]) == (1, 1, 5)
    written = (tmp_path / "x.jsonl.rejects.ndjson").read_text().splitlines()
    rows = [json.loads(line) for line in written]
    assert [row["rejected_line"] for row in rows] == [2, 3, 4, 5, 6]
    assert rows[0]["rejected_text"] == "{broken"
    assert rows[1]["rejected_reason"] == "email must be text or a number"
    assert written[2].endswith('"event": "x", "n": 19.90}')


async def test_a_file_in_s3_arrives_and_its_refused_rows_are_here(
    imported: Callable[..., Result], installation: Path, input_id: int, live: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    assert imported("here.csv", "email,event\na@b.c,x\n").exit_code == 0
    with serving_s3({"/bucket/folder/there.csv": b"email,event\nd@e.f,x\n,x\n"}) as where:
        done = live("import", f"s3://bucket/folder/there.csv?{where}", "--input", input_id)
        missing = live("import", f"s3://bucket/folder/nowhere.csv?{where}", "--input", input_id)
    assert done.exit_code == 1, done.err
    assert "1 of 2 rows" in done.out
    assert (tmp_path / "there.csv.rejects.csv").read_text().startswith("email,event,rejected_line,rejected_reason\n,x,3,names nobody")
    assert len((await told(installation, input_id)).events) == 2
    assert missing.exit_code == 2
    assert "There is no file" in missing.err


def test_a_dry_run_checks_every_row_and_keeps_none(
    imported: Callable[..., Result], installation: Path, input_id: int, tmp_path: Path
) -> None:
    done = imported("x.csv", "email,event\na@b.c,x\n,x\n", "--dry-run")
    assert done.exit_code == 1
    assert "1 of 2 rows" in done.out
    assert (tmp_path / "x.csv.dry-run.rejects.csv").exists()
    assert asyncio.run(told(installation, input_id)).events == []
    assert imported("x.csv", None).exit_code == 1
    assert len(asyncio.run(told(installation, input_id)).events) == 1


async def test_a_file_is_imported_once_unless_it_is_said_again(imported: Callable[..., Result], installation: Path, input_id: int) -> None:
    assert imported("x.csv", "email,event\na@b.c,x\n").exit_code == 0
    second = imported("x.csv", None)
    assert second.exit_code == 0
    assert "imported already" in second.err
    assert "1 of 1 rows" in second.out
    assert len((await told(installation, input_id)).events) == 1
    assert imported("x.csv", None, "--again").exit_code == 0
    assert len((await told(installation, input_id)).events) == 2


FAULTS = [
    ("an unknown field", "columns:\n  a: emial\n", "mapping.yaml:2"),
    ("an unknown word", "columns:\n  email: email\nrows: x\n", "mapping.yaml:3"),
    ("a column that is not there", "columns:\n  email: email\n  Nowhere: attributes.x\n", "mapping.yaml:3"),
    ("a unit that is none", "columns:\n  a:\n    field: time\n    unit: days\n", "mapping.yaml:4"),
    ("a unit of no time", "columns:\n  a: {field: email, unit: s}\n", "mapping.yaml:2"),
    ("no YAML", "columns: [\n", "line 2"),
    ("a column named twice", "columns:\n  a: skip\n  a: email\n", "mapping.yaml:3"),
    ("a list", "- a\n", "mapping.yaml:1"),
    ("others that are none", "others: all\n", "mapping.yaml:1"),
    ("one field twice", "columns:\n  a: email\n", "becomes email"),
    ("nobody", "columns:\n  email: attributes.email\n", "who the rows are about"),
]


@pytest.mark.parametrize(("mapping", "said"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_a_faulty_mapping_is_named_with_its_line(muster: Run, tmp_path: Path, mapping: str, said: str) -> None:
    (tmp_path / "x.csv").write_text("email,a\na@b.c,1\n")
    (tmp_path / "mapping.yaml").write_text(mapping)
    done = muster("import", tmp_path / "x.csv", "--input", 1, "--mapping", tmp_path / "mapping.yaml")
    assert done.exit_code == 2, done.err
    assert said in done.err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.csv", "", "first line must name the columns"),
        ("x.csv", "email,email\n", "'email' twice"),
        ("x.csv", None, "There is no file"),
        ("x.xlsx", "x", "tells no format"),
        ("x.ndjson", "[1]\n", "holds no JSON object"),
        ("x.parquet", "email", "is no Parquet file"),
        ("x.csv", "name,age\n", "who the rows are about"),
    ],
)
def test_a_file_that_cant_be_imported_is_refused_before_anything_is_sent(
    muster: Run, tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    done = muster("import", tmp_path / name, "--input", 1)
    assert done.exit_code == 2, done.err
    assert said in done.err


def test_an_input_of_nobody_and_a_column_of_no_known_type_end_the_import(
    live: Run, imported: Callable[..., Result], tmp_path: Path
) -> None:
    assert imported("x.csv", "email,event\na@b.c,x\n").exit_code == 0
    other = live("import", tmp_path / "x.csv", "--input", 999_999)
    assert other.exit_code == 1
    assert "no active input" in other.err
    parquet.write_table(pa.table({"email": ["a@b.c"], "event": ["x"], "n": [[1]]}), tmp_path / "x.parquet")
    done = imported("x.parquet")
    assert done.exit_code == 2
    assert "columns.attributes.n" in done.err


@dataclass
class Many:
    """A file of which each thousandth row is refused."""

    ROWS: ClassVar[int] = 300_000

    path: Path
    input_id: int
    progress: Path

    async def begin(self) -> asyncio.subprocess.Process:
        """An import of it that has done some pieces."""
        before = self._progress()
        command = [sys.executable, "-m", "cli", "import", str(self.path), "--input", str(self.input_id), "--json"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE)
        await eventually(lambda: process.returncode is not None or self._progress() != before)
        return process

    def _progress(self) -> list[int]:
        return [one.stat().st_mtime_ns for one in self.progress.glob("*.json")]

    async def ended(self, process: asyncio.subprocess.Process, installation: Path) -> None:
        """All of it was told, and is in the stream once."""
        out, _ = await process.communicate()
        assert process.returncode == 1
        document = json.loads(out)
        assert (document["rows"], document["accepted_rows"]) == (self.ROWS, self.ROWS - self.ROWS // 1000)
        events = [event for event in (await told(installation, self.input_id)).events if event.name == "x"]
        assert sorted(int(attributes(event)["row"]) for event in events) == [row for row in range(self.ROWS) if row % 1000]
        with (self.path.parent / "many.csv.rejects.csv").open() as file:
            assert [int(row["row"]) for row in csv.DictReader(file)] == list(range(0, self.ROWS, 1000))


@pytest.fixture
def many(imported: Callable[..., Result], input_id: int, installation: Path, tmp_path: Path) -> Many:
    """A large file, and an input that ingest knows already."""
    assert imported("first.csv", "email,event\na@b.c,first\n").exit_code == 0
    path = tmp_path / "many.csv"
    with path.open("w") as file:
        file.write("customer_id,event,row\n")
        file.writelines(f"c-{row % 5000},{'x' if row % 1000 else ''},{row}\n" for row in range(Many.ROWS))
    return Many(path, input_id, installation / "imports")


async def test_an_import_that_is_killed_goes_on_and_every_row_is_there_once(many: Many, installation: Path) -> None:
    for _ in range(3):
        process = await many.begin()
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
    await many.ended(await many.begin(), installation)


async def test_an_import_outlives_the_service_and_every_row_is_there_once(many: Many, installation: Path) -> None:
    known = devfile.read(installation)
    assert known is not None
    port = int(known.grpc["ingest"].rpartition(":")[2])
    process = await many.begin()
    (ingest,) = {one.pid for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr and one.laddr.port == port}
    assert ingest
    os.kill(ingest, signal.SIGKILL)
    await many.ended(process, installation)


async def test_an_import_ends_when_the_service_stays_away(live: Run, many: Many, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_PATIENCE_SECONDS", 0.3)
    monkeypatch.setenv("MUSTER_INGEST_ADDRESS", "127.0.0.1:1")
    done = await asyncio.to_thread(live, "import", many.path, "--input", many.input_id)
    assert done.exit_code == 3
    assert "does not answer" in done.err
