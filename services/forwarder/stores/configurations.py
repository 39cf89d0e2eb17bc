"""Configurations in the database: the settings, and apart from them the secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import insert_ignore
from services.forwarder.domain.connections import State
from services.forwarder.tables import configurations, connections, deliveries


@dataclass(frozen=True, slots=True)
class Configuration:
    """Credentials and settings of a partner. The secrets stay out of its text form, so that no log or error shows them."""

    id: int
    account_id: int
    integration_key: str
    name: str
    settings: dict[str, str]
    secrets: dict[str, str] = field(repr=False)
    version: int
    create_time_ms: int
    update_time_ms: int

    @property
    def etag(self) -> str:
        """Names this state."""
        return str(self.version)

    @property
    def values(self) -> dict[str, str]:
        """Settings and secrets together, as the form reads them."""
        return {**self.settings, **self.secrets}


class Configurations:
    """The configurations of all accounts, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, account_id: int, id: int, *, lock: bool = False) -> Configuration | None:
        """The configuration, unless it is another account's, or deleted. `lock` keeps it as it is for the rest of the transaction."""
        query = select(configurations).where(
            configurations.c.account_id == account_id, configurations.c.id == id, configurations.c.delete_time.is_(None)
        )
        row = (await self._connection.execute(query.with_for_update() if lock else query)).one_or_none()
        return None if row is None else _configuration(row)

    async def of_key(self, account_id: int, idempotency_key: str) -> Configuration | None:
        """The configuration that was made under this key."""
        query = select(configurations).where(configurations.c.account_id == account_id, configurations.c.idempotency_key == idempotency_key)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _configuration(row)

    async def page(self, account_id: int, *, after: int, limit: int) -> list[Configuration]:
        """Those with ids above `after`, in their order."""
        query = (
            select(configurations)
            .where(configurations.c.account_id == account_id, configurations.c.id > after, configurations.c.delete_time.is_(None))
            .order_by(configurations.c.id)
            .limit(limit)
        )
        return [_configuration(row) for row in await self._connection.execute(query)]

    async def insert(
        self,
        account_id: int,
        *,
        integration_key: str,
        name: str,
        settings: dict[str, str],
        secrets: dict[str, str],
        now_ms: int,
        idempotency_key: str | None,
    ) -> Configuration | None:
        """A new configuration; None: there is one of this key."""
        values: dict[str, Any] = {
            "account_id": account_id,
            "integration_key": integration_key,
            "name": name,
            "settings": settings,
            "secrets": secrets,
            "version": 1,
            "create_time": now_ms,
            "update_time": now_ms,
            "idempotency_key": idempotency_key,
        }
        statement = insert_ignore(configurations).values(values).returning(configurations)
        row = (await self._connection.execute(statement)).one_or_none()
        return None if row is None else _configuration(row)

    async def save(self, configuration: Configuration) -> None:
        """Keep the changed name, settings, secrets and version."""
        await self._connection.execute(
            update(configurations)
            .where(configurations.c.id == configuration.id)
            .values(
                name=configuration.name,
                settings=configuration.settings,
                secrets=configuration.secrets,
                version=configuration.version,
                update_time=configuration.update_time_ms,
            )
        )

    async def delete(self, configuration: Configuration, *, now_ms: int) -> None:
        """Mark it deleted; `forget_secrets` forgets its secrets once no closing message needs them."""
        await self._connection.execute(update(configurations).where(configurations.c.id == configuration.id).values(delete_time=now_ms))

    async def forget_secrets(self) -> None:
        """Empty the secrets of deleted configurations that nothing is sent for any more."""
        pending = exists().where(
            connections.c.configuration_id == configurations.c.id,
            deliveries.c.connection_id == connections.c.id,
            deliveries.c.outcome == "pending",
        )
        await self._connection.execute(update(configurations).where(configurations.c.delete_time.is_not(None), ~pending).values(secrets={}))

    async def is_used(self, id: int) -> bool:
        """Whether it has connections."""
        query = select(exists().where(connections.c.configuration_id == id, connections.c.state != State.DELETED))
        return bool(await self._connection.scalar(query))

    async def faulted_counts(self, ids: Sequence[int]) -> dict[int, int]:
        """How many faulted connections each of these has; those without any are left out."""
        query = (
            select(connections.c.configuration_id, func.count())
            .where(connections.c.configuration_id.in_(ids), connections.c.state == State.FAULTED)
            .group_by(connections.c.configuration_id)
        )
        return {row[0]: row[1] for row in await self._connection.execute(query)}


def _configuration(row: Any) -> Configuration:
    return Configuration(
        id=row.id,
        account_id=row.account_id,
        integration_key=row.integration_key,
        name=row.name,
        settings=row.settings,
        secrets=row.secrets,
        version=row.version,
        create_time_ms=row.create_time,
        update_time_ms=row.update_time,
    )
