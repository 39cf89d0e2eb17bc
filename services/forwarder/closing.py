"""The end of a connection: what is known of it here is forgotten, and the partner is told, as well as that can be done."""

from __future__ import annotations

from services.forwarder.connectors.base import Purpose
from services.forwarder.delivery import new_delivery
from services.forwarder.domain.ab_tests import name_downstream
from services.forwarder.domain.connections import Connection, State, deleted
from services.forwarder.facts import fault_cleared
from services.forwarder.following import stop_following
from services.forwarder.stores.deliveries import Outcome
from services.forwarder.stores.store import Tx


async def close(tx: Tx, account_id: int, connection_id: int, *, now_ms: int, etag: str = "") -> Connection | None:
    """Delete a connection; None: there is none, or it was deleted before. Wake its worker after the commit: it sends the last message."""
    before = await tx.connections.get(account_id, connection_id)
    if before is None or before.state is State.DELETED:
        return None
    key = (account_id, before.audience_id)
    # Audiences are locked before connections, everywhere.
    audience = await tx.audiences.get(key, lock=True)
    before = await tx.connections.get(account_id, connection_id, lock=True)
    if before is None or before.state is State.DELETED:
        return None
    after = deleted(before, now_ms=now_ms, etag=etag)
    await tx.save_connection(after)
    pending = await tx.deliveries.pending(connection_id)
    if pending is not None:
        await tx.deliveries.finish(pending, Outcome.FAILED, tries=pending.tries, message="the connection was deleted", now_ms=now_ms)
    await tx.members.forget_connection(connection_id)
    if before.subscribed:
        name = name_downstream(audience.external_name or audience.name if audience else "", before.variation)
        closing = new_delivery(before, Purpose.UNSUBSCRIBE, (), audience_name=name, now_ms=now_ms)
        await tx.deliveries.write(closing, account_id=account_id)
    if before.state is State.FAULTED:
        await tx.announce([fault_cleared(after, waiting=0, now_ms=now_ms)], now_ms=now_ms)
    if not (await tx.connections.of_audiences([key])).get(key):
        await stop_following(tx, key)
    return after
