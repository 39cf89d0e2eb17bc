"""What became of each part of a text or a definition: taken, taken with a note, or refused, each with its place and the mend."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum

ENTRIES_MAX = 1_000
_SHOWN_MAX = 80
_FEW = 12


class Outcome(StrEnum):
    """The names of muster.definition.v1.PublicJsonOutcome, without its prefix."""

    TAKEN = "TAKEN"
    NOTED = "NOTED"
    REFUSED = "REFUSED"


class Why(StrEnum):
    """The names of muster.definition.v1.PublicJsonReason, without its prefix."""

    NOT_JSON = "NOT_JSON"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    DUPLICATE_KEY = "DUPLICATE_KEY"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    MISSING = "MISSING"
    WRONG_TYPE = "WRONG_TYPE"
    UNKNOWN_OPERATOR = "UNKNOWN_OPERATOR"
    UNKNOWN_MODEL = "UNKNOWN_MODEL"
    UNKNOWN_PATH = "UNKNOWN_PATH"
    UNKNOWN_VALUE = "UNKNOWN_VALUE"
    NOT_SUPPORTED = "NOT_SUPPORTED"
    NOT_EXPORTABLE = "NOT_EXPORTABLE"
    REWRITTEN = "REWRITTEN"


@dataclass(frozen=True, slots=True)
class Entry:
    """One part. `place` is a JSON pointer on import and the path of a node on export; `why` is None for what is taken."""

    outcome: Outcome
    place: str
    description: str
    why: Why | None = None
    node_id: str = ""


@dataclass(slots=True)
class Report:
    """Where the readers and writers say what became of each part. Of more than 1,000 entries of one outcome the rest is counted."""

    entries: list[Entry] = field(default_factory=list)
    omitted: int = 0
    _counts: Counter[Outcome] = field(default_factory=Counter)

    def taken(self, place: str, description: str, *, node_id: str = "") -> None:
        self.add(Entry(Outcome.TAKEN, place, description, node_id=node_id))

    def noted(self, place: str, description: str, *, node_id: str = "") -> None:
        self.add(Entry(Outcome.NOTED, place, description, Why.REWRITTEN, node_id))

    def refused(self, place: str, why: Why, description: str, *, node_id: str = "") -> None:
        self.add(Entry(Outcome.REFUSED, place, description, why, node_id))

    def add(self, entry: Entry) -> None:
        self._counts[entry.outcome] += 1
        if self._counts[entry.outcome] <= ENTRIES_MAX:
            self.entries.append(entry)
        else:
            self.omitted += 1

    def take(self, other: Report) -> None:
        """Add the entries of a report about a part."""
        for entry in other.entries:
            self.add(entry)
        self.omitted += other.omitted

    @property
    def full(self) -> bool:
        """Whether so much was refused that looking further tells nobody more."""
        return self._counts[Outcome.REFUSED] >= ENTRIES_MAX

    @property
    def complete(self) -> bool:
        """Whether nothing was refused."""
        return not self._counts[Outcome.REFUSED]

    @property
    def exact(self) -> bool:
        """Whether nothing was refused, and nothing is to be known of what was taken."""
        return self.complete and not self._counts[Outcome.NOTED]


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """What a person may have meant, as the end of a sentence: ` Did you mean `equals`?`, or the choices where nothing is near."""
    found = get_close_matches(word[:_SHOWN_MAX], known, n=1)
    if found:
        return f" Did you mean `{found[0]}`?"
    return f" There are: {', '.join(known)}." if len(known) <= _FEW else ""


def shown(word: str) -> str:
    """A text of the caller's for a sentence, in quotes and cut to 80 characters."""
    return repr(word if len(word) <= _SHOWN_MAX else f"{word[:_SHOWN_MAX]}...")
