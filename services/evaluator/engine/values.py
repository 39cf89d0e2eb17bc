"""Values of user attributes, and the tests of them.

A value of the wrong type fails a test, also a negative one. semantics: Strings, Numbers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .facts import Point, Value
from .periods import Window
from .strings import StringTest

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ].+)?")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000
FIRST_INSTANT = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1) - DAY  # a day more: written with an offset
LAST_INSTANT = (datetime(9999, 12, 31, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1) + 2 * DAY - 1
PLAIN_DIGITS = 100


def text_of(value: Value) -> str | None:
    """What the string operators see. None: a list has no text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    number = number_of(value)
    if number is None:
        return None
    if isinstance(value, float):
        number = number.normalize()  # 5.0 reads 5
    return format(number, "f") if abs(number.adjusted()) < PLAIN_DIGITS else str(number)


def number_of(value: Value) -> Decimal | None:
    """The value as an exact decimal; text counts where it is one. A float is the shortest decimal that reads as it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    return decimal_of(value) if isinstance(value, str) else None


def decimal_of(text: str) -> Decimal | None:
    if not NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond all bounds
        return None


def boolean_of(value: Value) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.casefold()) if isinstance(value, str) else None


def instant_of(value: Value) -> int | None:
    """Unix milliseconds of an ISO 8601 date (its UTC midnight) or date-time (UTC where it names no offset), or of a number that is such
    milliseconds; what is finer than a millisecond is cut off."""
    if isinstance(value, str) and DATE.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:  # the 30th of February
            return None
        instant = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH
        return instant // timedelta(milliseconds=1)
    number = number_of(value)
    if number is None or not FIRST_INSTANT <= number <= LAST_INSTANT:
        return None
    return int(number.to_integral_value("ROUND_FLOOR"))


def entries_of(value: Value) -> Sequence[str] | None:
    """The entries of a list; None: the value isn't one."""
    if isinstance(value, (str, bool, int, float, Decimal, Point)):
        return None
    return value


class Comparison(Enum):
    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    BETWEEN = "between"


class ValueTest(Protocol):
    """A test of an attribute's value that depends on nothing else."""

    @property
    def missing(self) -> bool:
        """What it is for people without the attribute."""

    def holds(self, value: Value) -> bool: ...


@dataclass(frozen=True)
class TextTest:
    test: StringTest

    @property
    def missing(self) -> bool:
        return self.test.negative

    def holds(self, value: Value) -> bool:
        text = text_of(value)
        return text is not None and self.test.holds(text)


@dataclass(frozen=True)
class NumberTest:
    comparison: Comparison
    operand: Decimal
    upper: Decimal | None = None

    @property
    def missing(self) -> bool:
        return self.comparison is Comparison.NOT_EQUAL

    def holds(self, value: Value) -> bool:
        number = number_of(value)
        if number is None:
            return False
        match self.comparison:
            case Comparison.EQUAL:
                return number == self.operand
            case Comparison.NOT_EQUAL:
                return number != self.operand
            case Comparison.LESS:
                return number < self.operand
            case Comparison.LESS_OR_EQUAL:
                return number <= self.operand
            case Comparison.GREATER:
                return number > self.operand
            case Comparison.GREATER_OR_EQUAL:
                return number >= self.operand
            case Comparison.BETWEEN:
                return self.upper is not None and self.operand <= number <= self.upper


@dataclass(frozen=True)
class BooleanTest:
    operand: bool
    missing: bool = False

    def holds(self, value: Value) -> bool:
        return boolean_of(value) is self.operand


@dataclass(frozen=True)
class DateTest:
    """The value is a date in the window, which doesn't move; where it does, it is not for `holds` to say."""

    window: Window
    missing: bool = False

    def holds(self, value: Value) -> bool:
        instant = instant_of(value)
        return (
            instant is not None
            and (self.window.first is None or self.window.first <= instant)
            and (self.window.last is None or instant <= self.window.last)
        )


@dataclass(frozen=True)
class ListTest:
    """Of the entries of a list: one is, or contains, the operand (case-folded). `of_one`: a single value is a list of its text."""

    operand: str
    whole_entry: bool
    negative: bool = False
    of_one: bool = False

    @property
    def missing(self) -> bool:
        return self.negative

    def holds(self, value: Value) -> bool:
        entries = entries_of(value)
        if entries is None and self.of_one and (text := text_of(value)) is not None:
            entries = (text,)
        if entries is None:
            return False
        folded = [entry.casefold() for entry in entries]
        found = self.operand in folded if self.whole_entry else any(self.operand in entry for entry in folded)
        return found != self.negative


@dataclass(frozen=True)
class ExistsTest:
    exists: bool = True

    @property
    def missing(self) -> bool:
        return not self.exists

    def holds(self, value: Value) -> bool:
        return self.exists


@dataclass(frozen=True)
class EmptyTest:
    """There, but an empty text or a list without entries."""

    missing: bool = False

    def holds(self, value: Value) -> bool:
        return value == "" or entries_of(value) in ((), [])


@dataclass(frozen=True)
class WrongType:
    """A test of another type than the attribute is read as: no value passes it."""

    missing: bool

    def holds(self, value: Value) -> bool:
        return False


class AttributeType(Enum):
    """What the values of an attribute are read as, where that is not left to what was sent."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    LIST = "list"


# The tests that say something of each; string tests always see the text, which a list hasn't.
TESTS: dict[AttributeType, tuple[type[ValueTest], ...]] = {
    AttributeType.STRING: (TextTest,),
    AttributeType.NUMBER: (NumberTest, TextTest),
    AttributeType.BOOLEAN: (BooleanTest, TextTest),
    AttributeType.DATE: (DateTest, TextTest),
    AttributeType.LIST: (ListTest,),
}


def read_as(test: ValueTest, type_: AttributeType | None) -> ValueTest:
    """The test as an attribute of the type takes it; None: of no type. What can be read as a type is what tests of it take anyway, but for
    lists, which a single value is too."""
    if type_ is None or isinstance(test, ExistsTest | EmptyTest):
        return test
    if not isinstance(test, TESTS[type_]):
        return WrongType(test.missing)
    return replace(test, of_one=True) if isinstance(test, ListTest) else test


EARTH_RADIUS_METRES = 6_371_008.8


@dataclass(frozen=True)
class NearTest:
    """A place at most so far from another, edge included, over a sphere."""

    latitude: float
    longitude: float
    metres: float
    missing: bool = False

    def within(self, latitudes: NDArray[np.float64], longitudes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each place is; NaN is nowhere."""
        near: NDArray[np.bool_] = self.distances(latitudes, longitudes) <= self.metres
        return near

    def distances(self, latitudes: NDArray[np.float64], longitudes: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far each place is, by the haversine."""
        here, there = np.radians(latitudes), np.radians(self.latitude)
        across = np.sin((here - there) / 2) ** 2
        across += np.cos(here) * np.cos(there) * np.sin((np.radians(longitudes) - np.radians(self.longitude)) / 2) ** 2
        far: NDArray[np.float64] = 2 * EARTH_RADIUS_METRES * np.arcsin(np.minimum(1.0, np.sqrt(across)))
        return far

    def holds(self, value: Value) -> bool:
        return isinstance(value, Point) and bool(self.within(np.array([value.latitude]), np.array([value.longitude]))[0])


@dataclass(frozen=True)
class AnyTest:
    """One of the entries of a list passes, as a text."""

    test: StringTest
    missing: bool = False

    def holds(self, value: Value) -> bool:
        return any(self.test.holds(entry) for entry in entries_of(value) or ())


@dataclass(frozen=True)
class TotalTest:
    """A test of a sum, which is 0 for people of whom nothing is known."""

    test: NumberTest

    @property
    def missing(self) -> bool:
        return self.holds(0)

    def holds(self, value: Value) -> bool:
        return self.test.holds(value)
