"""What the event store tells a server and a cluster, beside what a person has read and found right."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.evaluator.event_tables import Layout, Tenure, counted, uncounted

EXPECTED = Path(__file__).parent / "expected"
TABLES = {
    "events": "account_id Int64, mpid Int64, partition UInt16, sequence UInt64 | ORDER BY (account_id, mpid)",
    "attributes": "account_id Int64, mpid Int64, value Nullable(String), partition UInt16, sequence UInt64 | ORDER BY (account_id)",
}
TENURES = {3: Tenure(7, 900, before=((4, 500), (6, 900))), 5: Tenure(1, 0)}


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("server", "clickhouse://muster:secret@store:8123/audiences"),
        ("cluster", "clickhouse://muster:secret@store:8123/audiences?cluster=main"),
    ],
)
def test_the_statements_are_those_that_were_checked(name: str, url: str) -> None:
    layout = Layout.of(url)
    said = [
        "-- made at start",
        *layout.create(TABLES),
        "-- sent with every statement",
        *(f"SET {setting} = {value}" for setting, value in layout.settings.items()),
        "-- taken out when partitions are taken over",
        layout.delete("events", uncounted(TENURES)),
        "-- read",
        f"SELECT mpid FROM {layout.name('events')} WHERE account_id = 7 AND {counted(TENURES)}",
    ]
    text = "".join(f"{line}{'' if line.startswith('--') else ';'}\n" for line in said)
    assert text == (EXPECTED / f"{name}.sql").read_text()


def test_the_url_says_where_the_tables_are() -> None:
    server = Layout.of("clickhouse://muster:secret@store:8123/audiences?compress=1&cluster=main")
    assert (server.url, server.database, server.cluster) == ("clickhouse://muster:secret@store:8123?compress=1", "audiences", "main")
    assert server.is_shared
    assert Layout.of("clickhouse://store:8123").database == "muster"
    assert not Layout.of("chdb:///data/events").is_shared


def test_without_partitions_nothing_is_read_and_nothing_taken_out() -> None:
    assert (counted({}), uncounted({})) == ("false", "false")
