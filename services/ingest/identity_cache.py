"""Identities that were met lately, in memory. Only what is committed gets in, and an identity keeps its person, so it is never wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class IdentityCache:
    """Holds between one and two times `size` entries: when the young half is full, the old half is dropped."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def look_up(self, keys: Iterable[bytes]) -> tuple[dict[bytes, int], set[bytes]]:
        """The MPIDs of those that are here, and the keys of those that are not."""
        found: dict[bytes, int] = {}
        missing: set[bytes] = set()
        for key in keys:
            mpid = self._young.get(key)
            if mpid is None and (mpid := self._old.get(key)) is not None:
                self._young[key] = mpid
            if mpid is None:
                missing.add(key)
            else:
                found[key] = mpid
        self._turn()
        return found, missing

    def take(self, owners: Mapping[bytes, int]) -> None:
        """Keep these, which are committed."""
        self._young.update(owners)
        self._turn()

    def _turn(self) -> None:
        if len(self._young) > self._size:
            self._old, self._young = self._young, {}
