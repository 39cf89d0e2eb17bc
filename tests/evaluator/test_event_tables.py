"""What the event store tells an engine in this process, a server and a cluster, beside what a person has read and found right.

Nothing is sent: a client takes the statements down. Where one of them is changed on purpose, write them anew and read the difference:

    MUSTER_TEST_RECORD=1 make test ARGS="-k the_statements_are_those"
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
import numpy as np
import pytest

from services.evaluator import event_store
from services.evaluator.engine.details import Place, Subject
from services.evaluator.engine.facts import Series
from services.evaluator.engine.strings import StringTest, Way
from services.evaluator.engine.tree import Match
from services.evaluator.event_rows import AttributeRow
from services.evaluator.event_store import EventStore
from services.evaluator.event_tables import Layout, Tenure, counted, uncounted
from services.evaluator.intake import EventColumns
from tests.fakes.event_stores import EventStores

EXPECTED = Path(__file__).parent / "expected"
TENURES = {3: Tenure(7, 900, before=((4, 500), (6, 900))), 5: Tenure(1, 0)}
ACCOUNT, WORKSPACE, ANNA = 7, 71, -5
# What the store needs to be answered to go on asking; to all else there is no answer.
ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "SELECT toString(uuid)": [("the id of the store",)],
    "SELECT count()": [(1,)],
    "SELECT DISTINCT cityHash64(type, name, input_id)": [(1, 1, "signed up", 711)],
    "SELECT workspace_id, kind, attribute, count()": [(WORKSPACE, "", "plan", 3)],
    "SELECT DISTINCT name": [("signed up",)],
    "SELECT groupUniqArray(": [([1], '{"attributes":{"level":"gold"},"products":[{"price":9}]}', "", "", "", "")],
}


class Answer:
    def __init__(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self.result_rows = rows
        self.result_columns: list[Any] = [[], [], [], []]

    @property
    def first_row(self) -> tuple[Any, ...]:
        return self.result_rows[0]


class Scribe:
    """A client that sends nothing and takes everything down."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self.said = ["-- with every statement", *(f"SET {setting} = {value};" for setting, value in settings.items())]

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._say(statement, parameters)

    def query(self, statement: str, parameters: Mapping[str, Any] | None = None, *, column_oriented: bool = False) -> Answer:
        self._say(statement, parameters)
        return Answer(next((rows for begin, rows in ANSWERS.items() if statement.startswith(begin)), []))

    @contextmanager
    def _streamed(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Iterator[list[Any]]:
        self._say(statement, parameters)
        yield []

    query_np_stream = query_column_block_stream = _streamed

    def insert_arrow(self, table: str, rows: Any) -> None:
        self._say(f"INSERT INTO {table} ({', '.join(rows.column_names)})", None)

    def _say(self, statement: str, parameters: Mapping[str, Any] | None) -> None:
        lines = re.sub(r" (FROM|WHERE|UNION ALL|GROUP BY|ORDER BY|ENGINE =|SETTINGS) ", r"\n  \1 ", statement)
        told = [f"-- {{{name}}} = {value!r}" for name, value in sorted((parameters or {}).items())]
        self.said += [*told, f"{lines};"]


def everything_said(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What each method of the store sends."""
    scribes: list[Scribe] = []

    def client(*, dsn: str, settings: Mapping[str, object]) -> Scribe:
        scribes.append(Scribe(settings))
        return scribes[0]

    monkeypatch.setattr(clickhouse_connect, "get_client", client)
    store = EventStore(url)
    (scribe,) = scribes
    level, price = Subject(Place.ATTRIBUTE, "level"), Subject(Place.PRODUCT_FIELD, "price")
    inputs = frozenset({711, 712})
    signed_up = Match(1, "signed up", inputs)
    steps: dict[str, Any] = {
        "take_over": lambda: store.take_over(TENURES),
        "insert": lambda: store.insert(ACCOUNT, _an_event(), [AttributeRow(WORKSPACE, "plan", ANNA, 100, "gold", 3, 901)]),
        "forget, with what outlives it": lambda: store.forget({1_000: [ACCOUNT, 8], 500: [9]}),
        "sources": lambda: store.sources(ACCOUNT),
        "events": lambda: list(store.events(ACCOUNT, 1_000)),
        "events, after a snapshot of one partition": lambda: list(store.events(ACCOUNT, 1_000, {3: 901})),
        "events, after a snapshot of all": lambda: list(store.events(ACCOUNT, 1_000, {3: 901, 5: 17})),
        "attributes": lambda: list(store.attributes(ACCOUNT)),
        "told_of": lambda: store.told_of(ACCOUNT, [ANNA, 12]),
        "told_changes": lambda: store.told_changes(ACCOUNT, ANNA, (900, -1), 10),
        "told_events": lambda: store.told_events(ACCOUNT, ANNA, (0, -1), 10),
        "lost_identities": lambda: store.lost_identities(ACCOUNT, [ANNA, 12]),
        "is_deleting": store.is_deleting,
        "hide": lambda: store.hide(ACCOUNT, {13: 950, 14: 960}),
        "erase, the first time": store.erase,
        "erase, the second time": store.erase,
        "identities_of": lambda: store.identities_of(ACCOUNT, ANNA, {"8"}),
        "places_of": lambda: store.places_of(ACCOUNT, ANNA, WORKSPACE),
        "events_of": lambda: store.events_of(ACCOUNT, ANNA, {1, 4}, 1_000, 2_000, 9),
        "life_of, what was paid": lambda: store.life_of(ACCOUNT, ANNA, WORKSPACE, 9, paying=True),
        "life_of, where it was": lambda: store.life_of(ACCOUNT, ANNA, WORKSPACE, 9, paying=False),
        "sights_of": lambda: store.sights_of(ACCOUNT, ANNA, WORKSPACE, 2_000, 9),
        "heard_of": lambda: store.heard_of(ACCOUNT, ANNA),
        "changes_of": lambda: store.changes_of(ACCOUNT, ANNA, [(WORKSPACE, "plan")]),
        "seen, first": lambda: store.seen(ACCOUNT, WORKSPACE, 2_000, first=True),
        "seen, last": lambda: store.seen(ACCOUNT, WORKSPACE, 2_000, first=False),
        "places": lambda: store.places(ACCOUNT, WORKSPACE, 2_000),
        "purchases": lambda: list(store.purchases(ACCOUNT, WORKSPACE)),
        "identities": lambda: store.identities(ACCOUNT, "8"),
        "recall, by a name": lambda: list(store.recall(ACCOUNT, signed_up, {level}, 1_000)),
        "recall, by a test of names, with two subjects": lambda: list(
            store.recall(ACCOUNT, Match(1, StringTest.of(Way.CONTAINS, ["sign"]), inputs), {level, price}, 1_000, in_order=False)
        ),
        "recall, of all names": lambda: list(store.recall(ACCOUNT, Match(4, None, inputs), {level}, 1_000)),
    }
    methods = {name for name, method in vars(EventStore).items() if callable(method) and not name.startswith("_")}
    assert methods - {"close"} == {name.split(",")[0] for name in steps}, "each method of the store is to be recorded"
    for name, step in steps.items():
        scribe.said.append(f"\n-- {name}")
        step()
    monkeypatch.setattr(event_store, "_GROUPS_MAX", 0)
    scribe.said.append("\n-- recall, of too many different values")
    list(store.recall(ACCOUNT, signed_up, {level}, 1_000))
    return "\n".join(scribe.said) + "\n"


def _an_event() -> EventColumns:
    return EventColumns(
        mpids=np.array([ANNA], np.int64),
        times_ms=np.array([100], np.int64),
        event_ids=np.array([1], np.int64),
        series_codes=np.array([0], np.int32),
        series=[Series(711, 1, "signed up")],
        workspaces=[WORKSPACE],
        partitions=np.array([3], np.int32),
        sequences=np.array([901], np.int64),
        contexts=[("1.0", "42", "iOS", "17")],
        context_codes=np.array([0], np.int32),
        details=[""],
    )


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("chdb", "chdb://{folder}"),
        ("server", "clickhouse://muster:secret@store:8123/audiences"),
        ("cluster", "clickhouse://muster:secret@store:8123/audiences?cluster=main"),
    ],
)
def test_the_statements_are_those_that_were_checked(name: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = everything_said(url.format(folder=tmp_path), monkeypatch)
    recorded = EXPECTED / f"{name}.sql"
    if os.environ.get("MUSTER_TEST_RECORD"):
        recorded.write_text(said)
    assert said == recorded.read_text()


def test_the_url_says_where_the_tables_are() -> None:
    server = Layout.of("clickhouse://muster:secret@store:8123/audiences?compress=1&cluster=main")
    assert (server.url, server.database, server.cluster) == ("clickhouse://muster:secret@store:8123?compress=1", "audiences", "main")
    assert server.is_shared
    assert Layout.of("clickhouse://store:8123").database == "muster"
    assert not Layout.of("chdb:///data/events").is_shared


def test_stores_of_tests_are_databases_of_their_own_on_a_server_and_on_a_cluster(tmp_path: Path) -> None:
    assert EventStores().url(tmp_path) == f"chdb://{tmp_path}"
    stores = EventStores("clickhouse://muster:secret@store:8123/?cluster=main")
    one, other = (Layout.of(stores.url(tmp_path)) for _ in range(2))
    assert (one.url, one.cluster) == (other.url, other.cluster) == ("clickhouse://muster:secret@store:8123", "main")
    assert one.database.startswith("muster_test_")
    assert one.database != other.database
    assert Layout.of(EventStores("clickhouse://store:8123").url(tmp_path)).cluster == ""


def test_without_partitions_nothing_is_read_and_nothing_taken_out() -> None:
    assert (counted({}), uncounted({})) == ("false", "false")
