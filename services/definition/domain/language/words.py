"""The words of the text language: each value of the contract by its phrase, and each phrase by what it begins.

Of several phrases for one thing the first is printed, the others are understood as well. docs/concepts/language.md lists them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2 as events
from muster.ingest.v1 import identity_pb2

V = TypeVar("V")
_SUGGESTED_MAX = 40  # characters; longer words are no slips of a short one
_NEAR_MIN = 5  # characters; short words are near to everything
_ALIKE, _SAME = 0.7, 0.9
_PLAIN = re.compile(r"[^\W\d][\w$]*")


def named(enum: EnumDescriptor) -> dict[int, str]:
    """The phrase of each value of an enum, from its name: `product category` of EVENT_FIELD_PRODUCT_CATEGORY."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.number: value.name.removeprefix(prefix).lower().replace("_", " ") for value in enum.values if value.number}


EVENT_FIELDS = named(pb.EventField.DESCRIPTOR)
FUNCTIONS = named(pb.AggregateFunction.DESCRIPTOR)
IDENTITIES = named(identity_pb2.IdentityType.DESCRIPTOR)
DEVICE_FIELDS = {number: f"device {phrase}" for number, phrase in named(pb.DeviceField.DESCRIPTOR).items()}
PLACE_FIELDS = {number: f"location {phrase}" for number, phrase in named(pb.PlaceField.DESCRIPTOR).items()}
ATTRIBUTION_FIELDS = {number: f"attribution {phrase}" for number, phrase in named(pb.AttributionField.DESCRIPTOR).items()}
SEEN_EDGES = {number: f"{phrase} seen" for number, phrase in named(pb.SeenEdge.DESCRIPTOR).items()}
UNITS = {number: (phrase, f"{phrase}s") for number, phrase in named(pb.DurationUnit.DESCRIPTOR).items()}

EVENT_TYPES: Mapping[int, tuple[str, ...]] = {
    events.EVENT_TYPE_CUSTOM: ("event", "events", "custom event", "custom events"),
    events.EVENT_TYPE_SCREEN_VIEW: ("screen view", "screen views", "viewed screen"),
    events.EVENT_TYPE_COMMERCE: ("commerce", "commerce event", "commerce events"),
    events.EVENT_TYPE_SESSION_START: ("sessions", "session", "session start", "session starts"),
    events.EVENT_TYPE_SESSION_END: ("session end", "session ends"),
    events.EVENT_TYPE_CRASH: ("crash", "crashes", "crashed"),
    events.EVENT_TYPE_INSTALL: ("installed", "install", "installs"),
    events.EVENT_TYPE_UNINSTALL: ("uninstalled", "uninstall", "uninstalls"),
    events.EVENT_TYPE_UPGRADE: ("upgraded", "upgrade", "upgrades"),
    events.EVENT_TYPE_ATTRIBUTION: ("attributed", "attribution event", "attribution events"),
    events.EVENT_TYPE_PUSH: ("push", "pushes"),
    events.EVENT_TYPE_OPT_OUT: ("opted out", "opt out", "opt outs"),
    events.EVENT_TYPE_APPLICATION_STATE: ("application state", "application states"),
    events.EVENT_TYPE_PUSH_REGISTRATION: ("push registration", "push registrations"),
    events.EVENT_TYPE_NETWORK_PERFORMANCE: ("network performance",),
    events.EVENT_TYPE_BREADCRUMB: ("breadcrumb", "breadcrumbs"),
    events.EVENT_TYPE_PROFILE: ("profile event", "profile events"),
    events.EVENT_TYPE_USER_ATTRIBUTE_CHANGE: ("attribute changed", "attribute changes"),
    events.EVENT_TYPE_USER_IDENTITY_CHANGE: ("identity changed", "identity changes"),
}
# Commerce events that have words of their own, by their names.
COMMERCE: Mapping[str, tuple[str, ...]] = {
    "purchase": ("purchase", "purchases", "purchased"),
    "refund": ("refund", "refunds", "refunded"),
    "add_to_cart": ("add to cart", "adds to cart", "added to cart"),
    "remove_from_cart": ("remove from cart", "removes from cart", "removed from cart"),
    "checkout": ("checkout", "checkouts", "checked out"),
}
STRING_TESTS: Mapping[int, tuple[str, ...]] = {
    pb.STRING_OPERATOR_CONTAINS: ("contains",),
    pb.STRING_OPERATOR_NOT_CONTAINS: ("does not contain",),
    pb.STRING_OPERATOR_EQUALS: ("=", "is"),
    pb.STRING_OPERATOR_NOT_EQUALS: ("!=", "is not"),
    pb.STRING_OPERATOR_PATTERN: ("like",),
    pb.STRING_OPERATOR_NOT_PATTERN: ("not like",),
    pb.STRING_OPERATOR_STARTS_WITH: ("starts with",),
    pb.STRING_OPERATOR_NOT_STARTS_WITH: ("does not start with",),
    pb.STRING_OPERATOR_ENDS_WITH: ("ends with",),
    pb.STRING_OPERATOR_NOT_ENDS_WITH: ("does not end with",),
    pb.STRING_OPERATOR_IN: ("in", "is in"),
    pb.STRING_OPERATOR_NOT_IN: ("not in", "is not in"),
}
COMPARISONS: Mapping[int, tuple[str, ...]] = {
    pb.COMPARISON_EQUAL: ("=", "is", "exactly"),
    pb.COMPARISON_NOT_EQUAL: ("!=", "is not"),
    pb.COMPARISON_LESS: ("<", "less than", "fewer than"),
    pb.COMPARISON_LESS_OR_EQUAL: ("<=", "at most"),
    pb.COMPARISON_GREATER: (">", "more than"),
    pb.COMPARISON_GREATER_OR_EQUAL: (">=", "at least"),
    pb.COMPARISON_BETWEEN: ("between",),
}
LIST_TESTS: Mapping[int, tuple[str, ...]] = {
    pb.LIST_OPERATOR_INCLUDES: ("includes",),
    pb.LIST_OPERATOR_NOT_INCLUDES: ("does not include",),
    pb.LIST_OPERATOR_PARTIAL_MATCH: ("partly includes",),
}
PRESENCE_TESTS: Mapping[int, tuple[str, ...]] = {
    pb.PRESENCE_OPERATOR_EXISTS: ("exists",),
    pb.PRESENCE_OPERATOR_NOT_EXISTS: ("does not exist",),
    pb.PRESENCE_OPERATOR_EMPTY: ("is empty",),
}
BOOLEANS: Mapping[bool, tuple[str, ...]] = {True: ("is true", "= true"), False: ("is false", "= false")}
PERIODS: Mapping[str, tuple[str, ...]] = {
    "last": ("within", "within the last", "in the last"),
    "ago": ("between",),
    "on": ("on",),
    "before": ("before",),
    "after": ("after",),
    "on_or_after": ("on or after",),
    "between": ("between",),
}
CONSENTS: Mapping[bool, str] = {True: "gave consent", False: "refused consent"}


class Meaning(NamedTuple):
    """What a phrase stands for: the kind of criterion, subject or test, which one of the kind, and the name of an event that it says."""

    kind: str
    value: int = 0
    name: str = ""


class Phrases(Generic[V]):
    """Phrases with their meanings, to be found by their words."""

    def __init__(self, meanings: Mapping[str, V]) -> None:
        self.all = tuple(meanings)
        self._by_first: dict[str, list[tuple[tuple[str, ...], V]]] = {}
        for phrase, meaning in meanings.items():
            words = tuple(phrase.split())
            self._by_first.setdefault(words[0], []).append((words, meaning))
        for choices in self._by_first.values():
            # "session end" comes before "session".
            choices.sort(key=lambda choice: -len(choice[0]))

    def beginning_with(self, word: str) -> list[tuple[tuple[str, ...], V]]:
        """The phrases whose first word is this one, the longest first."""
        return self._by_first.get(word, [])


def _each(table: Mapping[V, tuple[str, ...]]) -> dict[str, V]:
    return {phrase: value for value, phrases in table.items() for phrase in phrases}


_EVENTS = {phrase: Meaning("event", number) for phrase, number in _each(EVENT_TYPES).items()} | {
    phrase: Meaning("event", events.EVENT_TYPE_COMMERCE, name) for phrase, name in _each(COMMERCE).items()
}
# What stands for events.
MATCHES = Phrases(_EVENTS)
# What stands at the start of a criterion.
STARTS = Phrases(
    _EVENTS
    | {phrase: Meaning("aggregate", number) for number, phrase in FUNCTIONS.items()}
    | {"sequence": Meaning("sequence"), "user attribute": Meaning("user_attribute"), "attribute": Meaning("user_attribute")}
    | {f"identity {phrase}": Meaning("identity", number) for number, phrase in IDENTITIES.items()}
    | {phrase: Meaning("identity", number) for number, phrase in IDENTITIES.items()}
    | {phrase: Meaning("device", number) for number, phrase in DEVICE_FIELDS.items()}
    | {phrase: Meaning("seen", number) for number, phrase in SEEN_EDGES.items()}
    | {phrase: Meaning("place", number) for number, phrase in PLACE_FIELDS.items()}
    | {"location within": Meaning("near"), "lifetime value": Meaning("lifetime_value")}
    | {phrase: Meaning("consent", consented) for consented, phrase in CONSENTS.items()}
    | {phrase: Meaning("attribution", number) for number, phrase in ATTRIBUTION_FIELDS.items()}
    | {"member of": Meaning("member_of"), "members of": Meaning("member_of"), "member of audience": Meaning("member_of")}
)
# What is compared in a filter of events, beside attributes.
SUBJECTS = Phrases(
    {phrase: Meaning("field", number) for number, phrase in EVENT_FIELDS.items()}
    | {"attribute": Meaning("attribute"), "product attribute": Meaning("product_attribute")}
)
# What a value is put to. `compare` needs the operand to know whether texts or numbers are compared.
TESTS = Phrases(
    {phrase: Meaning("string", number) for phrase, number in _each(STRING_TESTS).items()}
    | {phrase: Meaning("compare", number) for phrase, number in _each(COMPARISONS).items()}
    | {phrase: Meaning("list", number) for phrase, number in _each(LIST_TESTS).items()}
    | {phrase: Meaning("presence", number) for phrase, number in _each(PRESENCE_TESTS).items()}
    | {phrase: Meaning("boolean", value) for phrase, value in _each(BOOLEANS).items()}
)
FREQUENCIES = Phrases({phrase: number for phrase, number in _each(COMPARISONS).items() if not phrase.startswith("is")})
# `between` is of both kinds of periods, which what follows tells apart.
WHENS = Phrases(_each(PERIODS))
DURATIONS = Phrases(_each(UNITS))
METRES = Phrases({"metres": 1, "meters": 1, "m": 1, "km": 1_000, "kilometres": 1_000, "kilometers": 1_000})

# What joins criteria.
JOINING = frozenset({"and", "or", "not", "all", "any", "then"})
# What stands inside of criteria, beside the phrases of the tables.
INSIDE = (
    "everyone",
    "not followed by",
    "from input",
    "from inputs",
    "named",
    "in workspace",
    "ago",
    "of",
    "to",
    "under",
    "times",
    "true",
    "false",
)
# What may go on after a criterion.
AFTER = (
    "and",
    "or",
    "then",
    "not followed by",
    "from input",
    "named",
    "in workspace",
    "within",
    "between",
    "on",
    "before",
    "after",
    "on or after",
)
_TABLES: tuple[Phrases[Any], ...] = (STARTS, SUBJECTS, TESTS, WHENS, DURATIONS, METRES)
RESERVED = JOINING | {word for phrase in (*INSIDE, *(p for t in _TABLES for p in t.all)) for word in phrase.split()}


def is_name(word: str) -> bool:
    """Whether an attribute of this name can be written without quotes: one word that is none of the language, nor a slip of one."""
    return _PLAIN.fullmatch(word) is not None and word.casefold() not in RESERVED and not is_slip(word)


@lru_cache(maxsize=4096)
def is_slip(word: str) -> bool:
    """Whether a word begins a phrase, but for a letter that is wrong, missing, too much or in another place."""
    folded = word.casefold()
    return _NEAR_MIN <= len(folded) <= _SUGGESTED_MAX and folded not in RESERVED and not _NEAR.isdisjoint(_shortened(folded))


def _shortened(word: str) -> set[str]:
    return {word} | {word[:index] + word[index + 1 :] for index in range(len(word))}


_FIRST = {phrase.split()[0] for phrase in ("everyone", *STARTS.all, *SUBJECTS.all)}
_NEAR = frozenset(short for word in _FIRST if len(word) >= _NEAR_MIN for short in _shortened(word))


@lru_cache(maxsize=1024)
def nearest(words: tuple[str, ...], phrases: tuple[str, ...]) -> tuple[int, str]:
    """The phrase that was probably meant by some of these words, and by how many of them; empty when there is none like it."""
    best, ratio = (0, ""), _ALIKE
    for count in range(1, len(words) + 1):
        said = " ".join(words[:count])
        if len(said) > _SUGGESTED_MAX:
            break
        for phrase in difflib.get_close_matches(said, phrases, n=1, cutoff=_ALIKE):
            found = difflib.SequenceMatcher(None, said, phrase).ratio()
            if found > ratio:
                best, ratio = (count, phrase), found
    if ratio < _SAME and words[0] in RESERVED:
        # A part of a phrase in place of the whole of it.
        return next(((1, phrase) for phrase in phrases if words[0] in phrase.split()), best)
    return best
