"""The A/B tests of audiences: copies of what the definition service tells, in the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.database import upsert
from services.forwarder.domain.ab_tests import AbTest
from services.forwarder.tables import ab_tests


class AbTests:
    """The tests of all accounts, inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, account_id: int, ab_test_id: int) -> AbTest | None:
        """The test; a deleted one too."""
        query = select(ab_tests).where(ab_tests.c.account_id == account_id, ab_tests.c.ab_test_id == ab_test_id)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _test(row)

    async def of_audience(self, account_id: int, audience_id: int) -> AbTest | None:
        """The test that the audience has now."""
        query = select(ab_tests).where(ab_tests.c.account_id == account_id, ab_tests.c.audience_id == audience_id)
        found = [_test(row) for row in await self._connection.execute(query.order_by(ab_tests.c.ab_test_id.desc()))]
        return next((test for test in found if not test.deleted), None)

    async def save(self, test: AbTest) -> None:
        """Keep what was told, unless something newer is known."""
        row = {
            "account_id": test.account_id,
            "ab_test_id": test.ab_test_id,
            "audience_id": test.audience_id,
            "version": test.version,
            "variations": [list(one) for one in test.variations],
        }
        keys = ["account_id", "ab_test_id"]
        await self._connection.execute(upsert(ab_tests, keys=keys, update=["version", "variations"], by="version"), [row])


def _test(row: Any) -> AbTest:
    return AbTest(row.account_id, row.ab_test_id, row.audience_id, row.version, tuple((name, share) for name, share in row.variations))
