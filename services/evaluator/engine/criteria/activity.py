"""Being a candidate: activity in one of an audience's workspaces, once and for ever. semantics: The definition tree."""

from collections.abc import Iterator

import numpy as np

from ..bits import BitRows, Row, place
from ..facts import Ordinals
from ..keys import Keys, sorted_unique
from ..tree import Activity


class ActivityCriteria:
    def __init__(self, bits: BitRows) -> None:
        self._bits = bits
        self._workspaces: dict[int, int] = {}  # the slot of those active in it
        self._slots: dict[Activity, int] = {}

    def row(self, criterion: Activity) -> Row:
        """For whom it is true."""
        row = np.zeros(self._bits.width, np.uint8)
        for workspace in criterion.workspaces & self._workspaces.keys():
            row |= self._bits.row(self._workspaces[workspace])
        return row

    def add(self, criterion: Activity, slot: int) -> None:
        self._slots[criterion] = slot

    def remove(self, criterion: Activity) -> None:
        del self._slots[criterion]

    def change(self, workspace: int, ordinals: Ordinals) -> Iterator[Keys]:
        """These people are active in the workspace; the places of the bits that turn."""
        if workspace not in self._workspaces:
            self._workspaces[workspace] = self._bits.new()
        slot = self._workspaces[workspace]
        ordinals = sorted_unique(ordinals)
        ordinals = ordinals[self._bits.get(slot, ordinals) == 0]
        yield place(slot, ordinals)
        for criterion, slot in self._slots.items():
            if workspace in criterion.workspaces:
                yield place(slot, ordinals[self._bits.get(slot, ordinals) == 0])

    def clear(self, ordinals: Ordinals) -> Iterator[Keys]:
        """These people are active nowhere any more; the places of the bits that turn."""
        ordinals = sorted_unique(ordinals)
        for slot in (*self._workspaces.values(), *self._slots.values()):
            yield place(slot, ordinals[self._bits.get(slot, ordinals) == 1])
