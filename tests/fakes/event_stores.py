"""Event stores for tests: folders of this machine, or databases of a server."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import clickhouse_connect

from services.evaluator.event_tables import Layout


class EventStores:
    """`server`: the URL of a server, or with `?cluster=name` of a cluster, that takes the stores; empty: each is in its folder."""

    def __init__(self, server: str = "") -> None:
        self.server = server
        self._urls: list[str] = []

    def url(self, folder: Path) -> str:
        """Of a new, empty one."""
        if not self.server:
            return f"chdb://{folder}"
        self._urls.append(urlunsplit(urlsplit(self.server)._replace(path=f"/muster_test_{secrets.token_hex(8)}")))
        return self._urls[-1]

    def drop(self) -> None:
        """Leave nothing on the server."""
        for layout in map(Layout.of, self._urls):
            client = clickhouse_connect.get_client(dsn=layout.url)
            everywhere = f" ON CLUSTER '{layout.cluster}'" if layout.cluster else ""
            client.command(f"DROP DATABASE IF EXISTS {layout.database}{everywhere} SYNC")
            client.close()
