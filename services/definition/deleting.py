"""The end of an audience, alone or with all that uses it."""

from __future__ import annotations

from .domain.ab_tests import ended
from .domain.audiences import Audience, transferred
from .domain.lifecycle import Move
from .domain.uses import check_digest, refuse_use
from .store import Transaction


async def delete(tx: Transaction, audience: Audience, *, author: str, now_ms: int, cascade: bool, digest: str) -> Audience:
    """The deleted audience; the same object when it is deleted already. Connections end as the forwarder hears of it.

    Raises AudienceInUse, or with `cascade` DigestMissing and UsesChanged.
    """
    deleted = transferred(audience, Move.DELETE, author=author, now_ms=now_ms)
    if deleted is audience:
        return audience
    uses = await tx.uses_of(audience.audience_id, cascade=cascade)
    if not cascade:
        refuse_use(audience, uses)
    else:
        check_digest(digest, uses)
    for test in uses.tests:
        await tx.save_ab_test(ended(test, now_ms=now_ms))
    for user in uses.audiences:
        await tx.save_audience(transferred(await tx.audience(user.audience_id), Move.DELETE, author=author, now_ms=now_ms))
    await tx.save_audience(deleted)
    return deleted
