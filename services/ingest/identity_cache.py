"""Identities that were met lately, in memory. Only what is committed gets in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class IdentityCache:
    """Holds between one and two times `size` entries: when the young half is full, the old half is dropped.

    Each entry belongs to an epoch of its account; those of earlier ones are not found.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[bytes, tuple[int, int]] = {}
        self._old: dict[bytes, tuple[int, int]] = {}

    def look_up(self, keys: Iterable[bytes], epoch: int) -> tuple[dict[bytes, int], set[bytes]]:
        """Whose those identities are that are here, and the keys of those that are not."""
        found: dict[bytes, int] = {}
        missing: set[bytes] = set()
        for key in keys:
            entry = self._young.get(key)
            if entry is None and (entry := self._old.get(key)) is not None:
                self._young[key] = entry
            if entry is None or entry[1] != epoch:
                missing.add(key)
            else:
                found[key] = entry[0]
        self._turn()
        return found, missing

    def take(self, owners: Mapping[bytes, int], epoch: int) -> None:
        """Keep these, which are committed."""
        self._young.update((key, (mpid, epoch)) for key, mpid in owners.items())
        self._turn()

    def drop(self, keys: Iterable[bytes]) -> None:
        """Forget these."""
        for key in keys:
            self._young.pop(key, None)
            self._old.pop(key, None)

    def _turn(self) -> None:
        if len(self._young) > self._size:
            self._old, self._young = self._young, {}
