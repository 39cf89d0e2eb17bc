"""Lists of numbers as tables inside a statement: one parameter, however long the list, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ARRAY, BigInteger, FromClause, Text, column, func, literal
from sqlalchemy.ext.asyncio import AsyncConnection


def listed(connection: AsyncConnection, values: Sequence[int]) -> FromClause:
    """A table with one column, `value`."""
    if connection.dialect.name == "sqlite":
        return func.json_each(_json(values)).table_valued(column("value", BigInteger), name="listed")
    return func.unnest(literal(list(values), ARRAY(BigInteger))).table_valued(column("value", BigInteger), name="listed").render_derived()


def _json(values: Sequence[Any]) -> Any:
    return literal(msgspec.json.encode(values).decode(), Text)
