"""The words of the columnar way in: what a table of a request says once it has been read and checked, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.ingest.domain.model import Context, Fault, Identity, Reason
from services.ingest.domain.values import place

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
# A pyarrow.Array; pyarrow has no types of its own.
Array = Any

# Of one row so many faults are told at most, so that an answer stays smaller than its request.
_FAULTS_OF_A_ROW = 5


class Kind(Enum):
    """What the values of a column are: texts, decimal texts of numbers, bools, lists of texts, or JSON of any of these."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    LIST = "list"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Cells:
    """The values of an attribute, one for each row, null where it has none. Texts, numbers and JSON are an array of strings."""

    kind: Kind
    values: Array


@dataclass(frozen=True, slots=True)
class Names:
    """The identities of one type that the rows of a table give, each once, as they are matched and kept."""

    type: int
    values: Array


@dataclass(frozen=True, slots=True)
class People:
    """Who the rows of a table are about, each once, in the order of their first rows."""

    # Of each, the MPID that is given; 0: none is.
    mpids: Ints
    # The strongest type first.
    names: list[Names]
    # Of each, for each of `names`, a place in all their values one after the other; -1: none.
    named: Ints

    def of(self, person: int) -> list[Identity]:
        """The identities of one, the strongest first."""
        found, first = [], 0
        for names, place_ in zip(self.names, self.named[person].tolist(), strict=True):
            if place_ >= 0:
                found.append(Identity(names.type, names.values[place_ - first].as_py()))
            first += len(names.values)
        return found

    def identities(self, persons: Sequence[int]) -> list[list[tuple[int, Identity]]]:
        """The identities of each of these, the strongest first, with their places."""
        if not persons:
            return []
        all_ = [Identity(names.type, value) for names in self.names for value in names.values.to_pylist()]
        return [[(one, all_[one]) for one in places if one >= 0] for places in self.named[list(persons)].tolist()]


@dataclass(frozen=True, slots=True)
class Table:
    """The good rows of a request, in their order: place i of every column is one row."""

    request_id: str
    # The place of each row in the request: with the request's id it names the row.
    rows: Ints
    # How many rows the request has, good and bad.
    size: int
    people: People
    # Of each row, a place in `people`.
    person_of: Ints
    # When each row holds from.
    times_ms: Ints
    # Type and name of events, and of each row a place in there; -1: the row is no event.
    kinds: list[tuple[int, str]]
    kind_of: Ints
    # `source_message_id`, null where a row has none; None: no row has.
    message_ids: Array | None
    # EventBatch.details as strings; None: no row has any.
    details: Array | None
    set_attributes: dict[str, Cells]
    # Lists of strings; None: no row has any.
    removed_attributes: Array | None
    context: Context


@dataclass(frozen=True, slots=True)
class RowFault:
    """A fault of a row, from 0; -1: of the table as a whole, of which nothing is kept then."""

    row: int
    fault: Fault


@dataclass(slots=True)
class TableFaults:
    """The faults of a table as they are found."""

    whole: list[RowFault] = field(default_factory=list)
    _of_row: dict[int, list[Fault]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.whole or self._of_row)

    @property
    def rows(self) -> list[int]:
        """The rows that have faults."""
        return sorted(self._of_row)

    @property
    def found(self) -> list[RowFault]:
        """All of them, in the order of the rows; those of the table, where it has any: what was read of its rows means nothing then."""
        return self.whole or [RowFault(row, fault) for row in self.rows for fault in self._of_row[row]]

    def add_whole(self, where: str, description: str, reason: Reason) -> None:
        """A fault of the table itself."""
        self.whole.append(RowFault(-1, Fault(where, description, reason)))

    def add(self, rows: Iterable[int], column: str, descriptions: str | Sequence[str], reason: Reason, *, inside: str = "") -> None:
        """The same fault in rows: described alike, or each in its own words. `inside` is a place inside the cell."""
        for number, row in enumerate(rows):
            found = self._of_row.setdefault(row, [])
            if len(found) < _FAULTS_OF_A_ROW:
                said = descriptions if isinstance(descriptions, str) else descriptions[number]
                found.append(Fault(place_of(row, column) + inside, said, reason))


def place_of(row: int, column: str) -> str:
    """The place of a cell: `rows[17].email`, `rows[17].attributes["a b"]`; of the row itself where no column is named."""
    where = f"rows[{row}]"
    if not column:
        return where
    group, dot, name = column.partition(".")
    return place(f"{where}.{group}", name) if dot else place(where, group)
