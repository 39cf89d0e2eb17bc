"""The parts of criteria, read from a text: events and their filters, tests of values, how often, and when."""

from __future__ import annotations

from datetime import date

from google.type import date_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2 as events

from ..validation import FILTERS_MAX
from .cursor import Cursor, shown
from .lexer import Kind, Token
from .places import Slip
from .words import DURATIONS, FREQUENCIES, JOINING, MATCHES, SUBJECTS, TESTS, WHENS, Meaning, is_name, nearest

_SHOWN_MAX = 40  # characters
_UINT32_MAX, _INT64_MAX, _UINT64_MAX = 2**32 - 1, 2**63 - 1, 2**64 - 1
_TEST_HINT = 'say how it compares, as in `= "gold"`, `> 3`, `contains "x"`, `within 30 days` or `exists`'


def read_match(cursor: Cursor, match: pb.EventMatch) -> None:
    """Events in a step or an aggregate: `purchase[total amount > 100]`, or a name alone for a custom event."""
    if cursor.token.kind is Kind.STRING:
        match.type = events.EVENT_TYPE_CUSTOM
    else:
        start = cursor.phrase(MATCHES)
        if start is None:
            cursor.wrong("An event is missing", 'name one, as `purchase`, `sessions` or `event "Sign up"`', MATCHES.all)
        begin_match(match, start)
    finish_match(cursor, match)


def begin_match(match: pb.EventMatch, start: Meaning) -> None:
    """The type of the events, and the name where the phrase says it."""
    match.type = events.EventType.ValueType(start.value)
    if start.name:
        match.name = start.name


def finish_match(cursor: Cursor, match: pb.EventMatch) -> None:
    """What may follow the type of events: a name, filters in brackets, inputs."""
    if match.WhichOneof("name_match") is None:
        if cursor.token.kind is Kind.STRING:
            match.name = cursor.take().text
        elif cursor.accept("named"):
            _read_name_test(cursor, match.name_test)
    if cursor.accept("["):
        _read_filters(cursor, match)
    if cursor.sees("from") and cursor.after(1).text in ("input", "inputs"):
        cursor.take()
        cursor.take()
        match.input_ids.extend(_read_numbers(cursor, "The number of an input"))


def _read_name_test(cursor: Cursor, test: pb.StringTest) -> None:
    value = pb.ValueTest()
    at = cursor.token
    read_test(cursor, value)
    if value.WhichOneof("kind") != "string":
        raise Slip(at.start, cursor.end, 'A name is compared with texts; write one in quotes, as in `named contains "sign"`.')
    test.CopyFrom(value.string)


def _read_filters(cursor: Cursor, match: pb.EventMatch) -> None:
    inside = cursor.opened
    while True:
        if len(match.where) > FILTERS_MAX:
            raise Slip(cursor.token.start, cursor.token.end, f"There are more than {FILTERS_MAX} filters; keep {FILTERS_MAX} or fewer.")
        try:
            _read_filter(cursor, match.where.add())
            if not (cursor.sees(",") or cursor.sees("]")):
                cursor.wrong("`,` or `]` is missing", "filters stand in brackets, with commas between, as in `[price > 5, size = 3]`")
        except Slip as slip:
            cursor.slips.add(slip)
            if cursor.slips.closed:
                cursor.stop()
            skip_to(cursor, (",", "]"), inside)
        if cursor.accept("]"):
            return
        if not cursor.accept(","):
            cursor.expect("]", "The end of the filters")


def _read_filter(cursor: Cursor, one: pb.Filter) -> None:
    subject = cursor.phrase(SUBJECTS)
    if subject is None:
        one.attribute = read_attribute(cursor, SUBJECTS.all)
    elif subject.kind == "field":
        one.field = pb.EventField.ValueType(subject.value)
    else:
        setattr(one, subject.kind, read_name(cursor, "The attribute's name"))
    read_test(cursor, one.test)


def read_attribute(cursor: Cursor, phrases: tuple[str, ...]) -> str:
    """The name of an attribute, in quotes or a plain word. Raises Slip for a word that is one of the language, or nearly one."""
    token = cursor.token
    if token.kind is Kind.STRING:
        return cursor.take().text
    if token.kind is not Kind.WORD:
        cursor.wrong("A criterion or an attribute is missing", 'name one, as in `sessions < 3` or `"plan" = "gold"`')
    if is_name(word := cursor.raw(token)) and not _runs_on(cursor, phrases):
        cursor.take()
        return word
    quotes = f'An attribute of this name is written in quotes, "{word[:_SHOWN_MAX]}".'
    if (slip := cursor.meant(phrases, quotes)) is not None:
        raise slip
    raise Slip(token.start, token.end, f"{shown(word)} is a word of the language, or nearly one, and begins nothing here. {quotes}")


def _runs_on(cursor: Cursor, phrases: tuple[str, ...]) -> bool:
    """Whether a word has no test behind it, but with the next one is nearly a phrase: `totl amount`."""
    behind = cursor.after(1)
    if behind.kind is not Kind.WORD or behind.text in JOINING or TESTS.beginning_with(behind.text) or WHENS.beginning_with(behind.text):
        return False
    return nearest((cursor.token.text, behind.text), phrases)[0] > 1


def read_name(cursor: Cursor, what: str) -> str:
    """A name that must come: in quotes, or any one word."""
    token = cursor.token
    if token.kind is Kind.STRING:
        return cursor.take().text
    if token.kind is Kind.WORD:
        return cursor.raw(cursor.take())
    cursor.wrong(f"{what} is missing", "write it in quotes")


def read_text(cursor: Cursor, what: str) -> str:
    """A text in quotes that must come."""
    if cursor.token.kind is not Kind.STRING:
        cursor.wrong(f"{what} is missing", 'write it in quotes, as in "gold"')
    return cursor.take().text


def read_test(cursor: Cursor, test: pb.ValueTest) -> None:
    """What a value is put to. Raises Slip."""
    at = cursor.token
    if read_period(cursor, test.date.when):
        return
    found = cursor.phrase(TESTS)
    if found is None:
        cursor.wrong("A test is missing", _TEST_HINT, (*TESTS.all, *WHENS.all))
    match found.kind:
        case "string":
            _read_string(cursor, test.string, found.value)
        case "compare":
            _read_compared(cursor, test, found.value, at)
        case "list":
            test.list.operator = pb.ListOperator.ValueType(found.value)
            test.list.value = read_text(cursor, "The entry")
        case "presence":
            test.presence.operator = pb.PresenceOperator.ValueType(found.value)
        case _:
            test.boolean.value = bool(found.value)


def _read_string(cursor: Cursor, test: pb.StringTest, operator: int) -> None:
    test.operator = pb.StringOperator.ValueType(operator)
    if operator not in (pb.STRING_OPERATOR_IN, pb.STRING_OPERATOR_NOT_IN):
        test.value = read_text(cursor, "The text to compare with")
        return
    cursor.expect("(", "The list of texts")
    test.values.append(read_text(cursor, "A text of the list"))
    while cursor.accept(","):
        test.values.append(read_text(cursor, "A text of the list"))
    cursor.expect(")", "The end of the list")


_TEXT_COMPARISONS = {
    pb.COMPARISON_EQUAL: pb.STRING_OPERATOR_EQUALS,
    pb.COMPARISON_NOT_EQUAL: pb.STRING_OPERATOR_NOT_EQUALS,
}


def _read_compared(cursor: Cursor, test: pb.ValueTest, comparison: int, at: Token) -> None:
    token = cursor.token
    if token.kind is Kind.STRING and comparison in _TEXT_COMPARISONS:
        _read_string(cursor, test.string, _TEXT_COMPARISONS[pb.Comparison.ValueType(comparison)])
    elif token.kind is Kind.STRING:
        raise Slip(
            token.start, token.end, f"A text is no number; compare texts with `=`, `!=` or words as `contains`, not with `{at.text}`."
        )
    elif token.kind is Kind.DATE:
        raise Slip(at.start, token.end, f"Dates are compared with words; write `on`, `before`, `after` or `on or after` {token.text}.")
    else:
        read_number(cursor, test.number, comparison)


def read_number(cursor: Cursor, test: pb.NumberTest, comparison: int) -> None:
    """The number or numbers behind a comparison."""
    test.comparison = pb.Comparison.ValueType(comparison)
    cursor.between = comparison == pb.COMPARISON_BETWEEN
    test.value = _number(cursor)
    if comparison == pb.COMPARISON_BETWEEN:
        cursor.expect_and("The upper end")
        test.upper = _number(cursor)


def _number(cursor: Cursor) -> str:
    if cursor.token.kind is not Kind.NUMBER:
        cursor.wrong("A value is missing", "write a number, or a text in quotes")
    return cursor.take().text


def read_comparison(cursor: Cursor, what: str) -> int:
    """A comparison of numbers that must come."""
    comparison = cursor.phrase(FREQUENCIES)
    if comparison is None:
        cursor.wrong(f"{what} is missing", "write one of =, !=, <, <=, >, >= and between", FREQUENCIES.all)
    return comparison


def read_frequency(cursor: Cursor, event: pb.EventCriterion) -> bool:
    """How often, `>= 2`, if it comes next."""
    if not event.HasField("frequency") and not _begins_period(cursor) and (comparison := cursor.phrase(FREQUENCIES)) is not None:
        test = event.frequency
        test.comparison = pb.Comparison.ValueType(comparison)
        cursor.between = comparison == pb.COMPARISON_BETWEEN
        test.value = read_whole(cursor, "How often", _UINT64_MAX)
        if cursor.between:
            cursor.expect_and("The upper end")
            test.upper = read_whole(cursor, "How often at most", _UINT64_MAX)
        cursor.accept("times")
        return True
    return False


def read_period(cursor: Cursor, period: pb.Period) -> bool:
    """When, if it comes next: `within 30 days`, `between 6 and 4 days ago`, `on or after 2026-01-31`."""
    if not _begins_period(cursor):
        return False
    cursor.between = cursor.sees("between")
    match cursor.phrase(WHENS):
        case "last":
            read_duration(cursor, period.last)
        case "on":
            _read_date(cursor, period.on)
        case "before":
            _read_date(cursor, period.before)
        case "after":
            _read_date(cursor, period.after)
        case "on_or_after":
            _read_date(cursor, period.on_or_after)
        case _ if cursor.token.kind is Kind.DATE:
            _read_date(cursor, period.between.first)
            cursor.expect_and("The last day")
            _read_date(cursor, period.between.last)
        case _:
            _read_ago(cursor, period.ago)
    return True


def _begins_period(cursor: Cursor) -> bool:
    """`between` begins a period before a date, and before numbers that have a unit; `in` only before `the`."""
    if not cursor.sees("between"):
        return cursor.sees("in", "the") or any(cursor.sees(word) for word in ("within", "on", "before", "after"))
    if cursor.after(1).kind is Kind.DATE:
        return True
    return _is_unit(cursor.after(2)) or (cursor.after(2).text == "and" and _is_unit(cursor.after(4)))


def _is_unit(token: Token) -> bool:
    """Whether a token is a unit of time, or was meant as one."""
    return token.kind is Kind.WORD and nearest((token.text,), DURATIONS.all)[1] != ""


def _read_ago(cursor: Cursor, ago: pb.Ago) -> None:
    older, newer = getattr(ago, "from"), ago.to  # `from` is a word of Python
    older.count = read_whole(cursor, "The older end", _UINT32_MAX)
    unit = None if cursor.sees("and") else _read_unit(cursor)
    cursor.expect_and("The newer end")
    read_duration(cursor, newer)
    older.unit = newer.unit if unit is None else unit
    cursor.expect("ago", "The end of the period")


def read_duration(cursor: Cursor, duration: pb.Duration) -> None:
    """A length of time that must come: `30 days`."""
    duration.count = read_whole(cursor, "The length of time", _UINT32_MAX)
    duration.unit = _read_unit(cursor)


def _read_unit(cursor: Cursor) -> pb.DurationUnit.ValueType:
    unit = cursor.phrase(DURATIONS)
    if unit is None:
        cursor.wrong("The unit of time is missing", "write seconds, minutes, hours, days or weeks", DURATIONS.all)
    return pb.DurationUnit.ValueType(unit)


def _read_date(cursor: Cursor, day: date_pb2.Date) -> None:
    token = cursor.token
    if token.kind is not Kind.DATE:
        cursor.wrong("A day is missing", "write it as 2026-01-31")
    try:
        found = date.fromisoformat(token.text)
    except ValueError:
        raise Slip(token.start, token.end, f"{token.text} is no day of the calendar; give a year, a month and a day.") from None
    cursor.take()
    day.year, day.month, day.day = found.year, found.month, found.day


def read_whole(cursor: Cursor, what: str, most: int = _INT64_MAX) -> int:
    """A whole number that must come, 0 to `most`. Raises Slip."""
    token = cursor.token
    if token.kind is not Kind.NUMBER:
        cursor.wrong(f"{what} is missing", "write a whole number")
    if not token.text.isdigit():
        raise Slip(token.start, token.end, f"{what} is {token.text[:40]}, which is no whole number; write one without sign and point.")
    # A text of many digits is not turned into a number.
    digits = token.text.lstrip("0") or "0"
    if len(digits) > len(str(most)) or int(digits) > most:
        raise Slip(token.start, token.end, f"{what} is too large; give {most} or less.")
    cursor.take()
    return int(digits)


def _read_numbers(cursor: Cursor, what: str) -> list[int]:
    if not cursor.accept("("):
        return [read_whole(cursor, what)]
    numbers = [read_whole(cursor, what)]
    while cursor.accept(","):
        numbers.append(read_whole(cursor, what))
    cursor.expect(")", "The end of the inputs")
    return numbers


def skip_to(cursor: Cursor, signs: tuple[str, ...], opened: int) -> None:
    """Passes over tokens up to one of these words or signs, or to `)`, with so many brackets open; or to the end."""
    while (token := cursor.token).kind is not Kind.END:
        if cursor.opened <= opened and token.kind in (Kind.WORD, Kind.SYMBOL) and (token.text == ")" or token.text in signs):
            return
        cursor.take()
        cursor.opened = max(cursor.opened, opened)
