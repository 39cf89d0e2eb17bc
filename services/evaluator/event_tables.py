"""How the event store's tables are laid out where its URL says they are: in this process, on a server, or on a cluster.

    chdb:///folder                                             MergeTree tables of the engine inside the process
    clickhouse://user:password@host:8123/database              the same on a server
    clickhouse://user:password@host:8123/database?cluster=name ReplicatedMergeTree tables on every shard, and Distributed ones over them

Pure: statements out, nothing sent. What a cluster is told is recorded in tests/evaluator/expected/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

_DATABASE = "muster"
# An insert is there whole or not at all, also when the power fails. What is small stays in one file a part, not two for each column:
# merging costs half as much then.
_SETTINGS = "fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_bytes_for_wide_part = 67108864"
# On a cluster a statement ends when its rows are where they belong, and a read sees all that was written before it.
_CLUSTER_SETTINGS = {
    "distributed_foreground_insert": 1,
    "insert_quorum": "auto",
    "insert_quorum_parallel": 0,
    "select_sequential_consistency": 1,
    "distributed_ddl_task_timeout": 60,
}


@dataclass(frozen=True, slots=True)
class Tenure:
    """One process's time with a partition. `epoch` is higher than that of every owner before.

    The store holds the partition whole up to `sequence`. Of the rows of earlier owners (`before`: epoch, sequence) those of this epoch
    and of lower ones count up to that sequence; later ones were never committed, whenever they came.
    """

    epoch: int = 0
    sequence: int = 0
    before: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tables are. `url` is what the client connects to; `is_shared`: several processes use one store."""

    url: str
    database: str = _DATABASE
    cluster: str = ""
    is_shared: bool = False

    @classmethod
    def of(cls, url: str) -> Layout:
        """The layout that a URL asks for."""
        if url.startswith("chdb://"):
            return cls(f"chdb://{Path(url.removeprefix('chdb://')).resolve()}")
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        cluster = options.pop("cluster", [""])[0]
        query = "&".join(f"{name}={value}" for name, values in options.items() for value in values)
        # The database may not exist yet, so the client must not ask for it.
        bare = urlunsplit((parts.scheme, parts.netloc, "", query, ""))
        return cls(bare, parts.path.strip("/") or _DATABASE, cluster, is_shared=True)

    @property
    def settings(self) -> Mapping[str, object]:
        """What every statement is sent with."""
        return _CLUSTER_SETTINGS if self.cluster else {}

    def name(self, table: str) -> str:
        """What a table is called where rows are read and inserted."""
        return f"{self.database}.{table}"

    def create(self, tables: Mapping[str, str]) -> list[str]:
        """The statements that make the database and the tables, given as `columns | ORDER BY ...`; repeating them changes nothing.

        Every table of rows of the stream has the columns `mpid`, `partition` and `sequence`, and gets `epoch`.
        """
        statements = [f"CREATE DATABASE IF NOT EXISTS {self.database}{self._on_cluster}"]
        for table, form in tables.items():
            columns, order = (" ".join(part.split()) for part in form.split("|"))
            statements += self._table(table, f"{columns}, epoch UInt32 DEFAULT 0", order)
        return statements

    def delete(self, table: str, where: str) -> str:
        """The statement that takes rows out; it ends when they are gone everywhere."""
        return f"DELETE FROM {self._local(table)}{self._on_cluster} WHERE {where} SETTINGS lightweight_deletes_sync = 2"  # noqa: S608 - own conditions

    def delete_later(self, table: str, where: str) -> str:
        """As `delete`, but it ends at once, and the rows go in the background."""
        return f"DELETE FROM {self._local(table)}{self._on_cluster} WHERE {where} SETTINGS lightweight_deletes_sync = 0"  # noqa: S608 - own conditions

    @property
    def mutations(self) -> str:
        """The table of what goes on in the background."""
        return f"clusterAllReplicas('{self.cluster}', system.mutations)" if self.cluster else "system.mutations"

    def _table(self, table: str, columns: str, order: str) -> list[str]:
        local = self._local(table)
        engine = "MergeTree"
        if self.cluster:
            engine = f"ReplicatedMergeTree('/clickhouse/tables/{{shard}}/{self.database}/{table}', '{{replica}}')"
        statements = [f"CREATE TABLE IF NOT EXISTS {local}{self._on_cluster} ({columns}) ENGINE = {engine} {order} SETTINGS {_SETTINGS}"]
        if self.cluster:
            over = f"Distributed('{self.cluster}', '{self.database}', '{table}_local', cityHash64(mpid))"
            statements.append(f"CREATE TABLE IF NOT EXISTS {self.name(table)}{self._on_cluster} AS {local} ENGINE = {over}")
        return statements

    def _local(self, table: str) -> str:
        return self.name(f"{table}_local" if self.cluster else table)

    @property
    def _on_cluster(self) -> str:
        return f" ON CLUSTER '{self.cluster}'" if self.cluster else ""


def counted(tenures: Mapping[int, Tenure]) -> str:
    """The condition for rows that count: of own partitions, and committed by whoever wrote them or written by this owner."""
    if not tenures:
        return "false"
    fences = " OR ".join(_fenced(partition, tenure.before) for partition, tenure in sorted(tenures.items()) if tenure.before)
    own = f"partition IN ({', '.join(map(str, sorted(tenures)))})"
    return f"{own} AND NOT ({fences})" if fences else own


def uncounted(tenures: Mapping[int, Tenure]) -> str:
    """The condition for rows of own partitions that do not count before this owner writes any."""
    conditions = []
    for partition, tenure in sorted(tenures.items()):
        conditions.append(f"(partition = {partition} AND sequence > {tenure.sequence})")
        if tenure.before:
            conditions.append(_fenced(partition, tenure.before))
    return " OR ".join(conditions) or "false"


def _fenced(partition: int, before: Sequence[tuple[int, int]]) -> str:
    late = " OR ".join(f"(epoch <= {epoch} AND sequence > {sequence})" for epoch, sequence in before)
    return f"(partition = {partition} AND ({late}))"
