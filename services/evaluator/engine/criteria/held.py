"""A code and a time for each person who has one: in proportion to those who do while they are few, an array over all once they aren't.

Ten thousand attributes of which everybody has some cost what is known, not attributes x people.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..facts import Instants, Ordinals

T = TypeVar("T", bound=np.generic)

People = Ordinals | slice
Codes = NDArray[np.int32]

NEVER = -(1 << 62)  # when a value that nobody has told was told
# A sparse entry takes 20 bytes and a dense one 12. New people are moved in among the others, so a column is dense before that costs much.
DENSE = 4  # where one in so many people has an entry


class Held:
    """By ordinal: a code, 0 for those who have none, and the time at which it was told."""

    def __init__(self) -> None:
        self.size = 0  # for how many people there is room
        self._people: Ordinals | None = np.empty(0, np.int64)  # ascending, those who have an entry; None: the arrays are over all
        self._codes: Codes = np.empty(0, np.int32)
        self._times: Instants = np.empty(0, np.int64)

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes + self._times.nbytes + (self._people.nbytes if self._people is not None else 0)

    def make_room(self, people: int) -> None:
        more, self.size = people - self.size, max(people, self.size)
        if more > 0 and self._people is None:
            self._codes = np.concatenate([self._codes, np.zeros(more, np.int32)])
            self._times = np.concatenate([self._times, np.full(more, NEVER)])

    def codes(self, people: People) -> Codes:
        return self._of(self._codes, people, 0)

    def times(self, people: People) -> Instants:
        """NEVER where nothing was told."""
        return self._of(self._times, people, NEVER)

    def put(self, people: Ordinals, codes: Codes, times: Instants) -> None:
        """`people` ascend, each comes once; there is room for them."""
        if self._people is not None and (len(self._people) + len(people)) * DENSE > self.size:
            self._spread()
        if self._people is None:
            self._codes[people], self._times[people] = codes, times
            return
        at = np.searchsorted(self._people, people)
        there = self._there(at, people)
        self._codes[at[there]], self._times[at[there]] = codes[there], times[there]
        if not there.all():
            new = at[~there]
            self._people = np.insert(self._people, new, people[~there])
            self._codes = np.insert(self._codes, new, codes[~there])
            self._times = np.insert(self._times, new, times[~there])

    def clear(self, people: Ordinals) -> None:
        """They have none any more."""
        if self._people is None:
            self._codes[people], self._times[people] = 0, NEVER
            return
        stays = ~np.isin(self._people, people)
        self._people, self._codes, self._times = self._people[stays], self._codes[stays], self._times[stays]

    def used(self, codes: int) -> NDArray[np.int64]:
        """The codes that somebody has, and 0, ascending; `codes`: how many there are."""
        held = np.zeros(codes, np.bool_)
        held[self._codes] = True
        held[0] = True
        return np.flatnonzero(held)

    def recode(self, used: NDArray[np.int64]) -> None:
        """Every code becomes its place among these."""
        places = np.zeros(int(used[-1]) + 1, np.int32)
        places[used] = np.arange(len(used))
        self._codes = places[self._codes]

    def _of(self, column: NDArray[T], people: People, nothing: int) -> NDArray[T]:
        if self._people is None:
            return column[people]
        if isinstance(people, slice):
            begin, end, _ = people.indices(self.size)
            first, last = np.searchsorted(self._people, [begin, end])
            whole = np.full(end - begin, nothing, column.dtype)
            whole[self._people[first:last] - begin] = column[first:last]
            return whole
        at = np.searchsorted(self._people, people)
        there = self._there(at, people)
        found = np.full(len(people), nothing, column.dtype)
        found[there] = column[at[there]]
        return found

    def _there(self, at: NDArray[np.intp], people: Ordinals) -> NDArray[np.bool_]:
        """Which of these have an entry, each where `at` says."""
        assert self._people is not None
        there = np.zeros(len(people), np.bool_)
        inside = at < len(self._people)
        there[inside] = self._people[at[inside]] == people[inside]
        return there

    def _spread(self) -> None:
        """From now on the arrays are over all."""
        everybody = slice(0, self.size)
        self._codes, self._times = self.codes(everybody), self.times(everybody)
        self._people = None
