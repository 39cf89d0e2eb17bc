"""What the event store told of the events that a filter reads. Another filter of the same values need not ask it again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .details import Happening
from .facts import Instants, Ordinals
from .sieve import Sieve, SieveEntry

Column = tuple[NDArray[np.int32], Instants, NDArray[np.int32]]


@dataclass
class Reading:
    """Of event i, `happenings[which[i]]` is told, as far as the sieves look that read it. `in_order`: in the order in which they came."""

    happenings: list[Happening]
    in_order: bool
    _columns: list[Column] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(people) for people, _, _ in self._columns)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for columns in self._columns for column in columns)

    def add(self, ordinals: Ordinals, times: Instants, which: NDArray[np.integer]) -> None:
        """Events that came after the others."""
        self._columns.append((ordinals.astype(np.int32), times, which.astype(np.int32)))

    def told_to(self, sieve: Sieve) -> tuple[NDArray[np.int32], Instants, NDArray[np.int32], list[Sequence[SieveEntry]]]:
        """All of it for one of the sieves, as it is filled."""
        nothing = np.empty(0, np.int32)
        if len(self._columns) != 1:
            people, times, which = (np.concatenate(columns) for columns in zip((nothing,) * 3, *self._columns, strict=True))
            self._columns = [(people, times.astype(np.int64), which)]
        return *self._columns[0], [sieve.entries(one) for one in self.happenings]
