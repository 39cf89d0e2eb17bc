"""Conditions of the public JSON form: which events are meant, when, and at most how long after the step before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from muster.definition.v1 import definition_pb2 as pb

from .dates import Ago, Day, Since, period_of
from .models import (
    ATTRIBUTES,
    EVENT_FIELDS,
    EVENT_TYPES,
    EVENTS,
    INPUT,
    NAME,
    PRODUCT_ATTRIBUTES,
    TIMESTAMP,
    TYPE,
    number_of_word,
)
from .operands import COMPARISONS, LOGIC, has_keys, kind_of, operator_of, right_of, whole_number
from .report import Report, Why, nearest, shown
from .sayings import PRESENCE_WORDS, Saying, asked_of
from .text import Json, Number, pointer

_PATHS = (TYPE, NAME, TIMESTAMP, INPUT, *EVENT_FIELDS.values())
_INPUT_MAX = 2**63 - 1


@dataclass(slots=True)
class Events:
    """Which events, the period that they lie in, and where they are a step, the step that their time counts from and how long."""

    match: pb.EventMatch = field(default_factory=pb.EventMatch)
    when: pb.Period | None = None
    since: Since | None = None


def events_of(value: Json, place: str, report: Report, *, steps: bool = False) -> Events | None:
    """The events of a condition; None where something was refused. `steps`: it is the condition of a step of a sequence."""
    if report.full:
        return None
    own = Report()
    reading = _Reading(own, steps)
    reading.read(value, place, top=True)
    events = reading.finished(place)
    report.take(own)
    return events if own.complete else None


def event_subject(path: str) -> dict[str, Any] | None:
    """The subject of a filter or an aggregate by its path: the fields of the message; None where there is none."""
    if path.startswith(ATTRIBUTES):
        return {"attribute": path.removeprefix(ATTRIBUTES)}
    if path.startswith(PRODUCT_ATTRIBUTES):
        return {"product_attribute": path.removeprefix(PRODUCT_ATTRIBUTES)}
    number = number_of_word(EVENT_FIELDS, path)
    return None if number is None else {"field": number}


def unknown_path(path: str, place: str, report: Report) -> None:
    attributes = f"Attributes are `{ATTRIBUTES}<name>`, of products `{PRODUCT_ATTRIBUTES}<name>`."
    report.refused(place, Why.UNKNOWN_PATH, f"Events have no {shown(path)}.{nearest(path, _PATHS)} {attributes}")


class _Reading:
    """One walk over one condition, which is an `and` of comparisons, of which some say one thing together."""

    def __init__(self, report: Report, steps: bool) -> None:
        self.report = report
        self._steps = steps
        self._events = Events()
        self._times: list[tuple[str, Any]] = []

    def read(self, value: Json, place: str, *, top: bool = False) -> None:
        if self.report.full:
            self.report.omitted += 1
            return
        operator = operator_of(value, place, self.report, (*COMPARISONS, *LOGIC, *sorted(PRESENCE_WORDS)))
        if operator is None:
            return
        if operator in LOGIC:
            self._logic(operator, value, place, top=top)
        elif operator in PRESENCE_WORDS:
            if has_keys(value, place, self.report, ("operator", "operand")):
                self._asked(value["operand"], Saying.one(operator), pointer(place, "operand"), place)
        elif has_keys(value, place, self.report, ("operator", "left", "right")):
            right = right_of(operator, value["right"], pointer(place, "right"), self.report, steps=self._steps)
            if right is not None:
                self._asked(value["left"], Saying.one(operator, right), pointer(place, "left"), place)

    def finished(self, place: str) -> Events:
        """The events, once all was read."""
        if not self._events.match.type:
            words = f'`{{"operator": "equals", "left": {{"model": "{EVENTS}", "path": "{TYPE}"}}, "right": "custom"}}`'
            self.report.refused(place, Why.MISSING, f"The type of the events is missing; say it as {words}.")
        if self._times:
            # Whichever end comes first, the begin is said first.
            times = sorted(self._times, key=lambda one: not one[0].startswith("greater"))
            self._events.when = period_of("and" if len(times) > 1 else "", tuple(times), past=True)
            if self._events.when is None:
                self.report.refused(place, Why.NOT_SUPPORTED, "The times of the events say no period; " + PERIODS)
        return self._events

    def _logic(self, operator: str, value: Json, place: str, *, top: bool) -> None:
        if not has_keys(value, place, self.report, ("operator", "expressions")):
            return
        parts, at = value["expressions"], pointer(place, "expressions")
        if not isinstance(parts, list) or not parts:
            self.report.refused(at, Why.WRONG_TYPE, "A list of one or more expressions is needed.")
            return
        together = None if top else self._together(operator, parts, at)
        if together is not None:
            self._asked(*together, pointer(at, 0, "left"), place)
        elif operator == "and":
            for index, part in enumerate(parts):
                self.read(part, pointer(at, index))
        else:
            told = "What is asked of an event holds together; an `or` lists texts that one path equals. Count the others by themselves."
            self.report.refused(place, Why.NOT_SUPPORTED, told)

    def _together(self, operator: str, parts: list[Json], place: str) -> tuple[Json, Saying] | None:
        """The one thing that comparisons of one path say together, if they say one; times of events are put together at the end."""
        if not all(isinstance(part, dict) and set(part) == {"operator", "left", "right"} for part in parts):
            return None
        left = parts[0]["left"]
        if any(part["left"] != left for part in parts) or left == {"model": EVENTS, "path": TIMESTAMP}:
            return None
        tried = Report()
        rights = [right_of(str(part["operator"]), part["right"], pointer(place, i, "right"), tried) for i, part in enumerate(parts)]
        saying = Saying(operator, tuple((str(part["operator"]), right) for part, right in zip(parts, rights, strict=True)))
        if not tried.complete:
            return None
        inputs = left == {"model": EVENTS, "path": INPUT} and operator == "or"
        if not inputs and asked_of(saying) is None:
            return None
        self.report.take(tried)
        return left, saying

    def _asked(self, left: Json, saying: Saying, left_place: str, place: str) -> None:
        """What is asked of the events, by the path."""
        of_list = isinstance(left, dict) and left.get("operator") == "list"
        if of_list:
            if not has_keys(left, left_place, self.report, ("operator", "group_by_model", "operand")):
                return
            if left["group_by_model"] != EVENTS:
                told = f"A list of an event is grouped by `{EVENTS}`."
                self.report.refused(pointer(left_place, "group_by_model"), Why.UNKNOWN_MODEL, told)
                return
            left, left_place = left["operand"], pointer(left_place, "operand")
        if not has_keys(left, left_place, self.report, ("model", "path")):
            return
        model, path = left["model"], left["path"]
        if model != EVENTS:
            told = f"A condition speaks of `{EVENTS}` alone; ask about people outside of it."
            self.report.refused(pointer(left_place, "model"), Why.UNKNOWN_MODEL, told)
        elif not isinstance(path, str):
            self.report.refused(pointer(left_place, "path"), Why.WRONG_TYPE, f"A path is a text, not {kind_of(path)}.")
        elif path in _READERS and not of_list:
            _READERS[path](self, saying, place)
        else:
            self._filter(path, saying, left_place, place, of_list=of_list)

    def _type(self, saying: Saying, place: str) -> None:
        operator, word = saying.parts[0]
        number = number_of_word(EVENT_TYPES, word) if isinstance(word, str) else None
        if saying.joined or operator != "equals":
            self.report.refused(place, Why.NOT_SUPPORTED, "Events of one type are counted; say `equals`, and count each type by itself.")
        elif number is None:
            told = f"This is no type of event.{nearest(str(word), tuple(EVENT_TYPES.values()))}"
            self.report.refused(pointer(place, "right"), Why.UNKNOWN_VALUE, told)
        elif self._events.match.type:
            self.report.refused(place, Why.NOT_SUPPORTED, "The type is said twice, and an event has one; keep one.")
        else:
            self._events.match.type = number  # type: ignore[assignment]

    def _name(self, saying: Saying, place: str) -> None:
        match = self._events.match
        asked = asked_of(saying)
        if match.WhichOneof("name_match") is not None:
            self.report.refused(place, Why.NOT_SUPPORTED, "The name is asked for twice; keep one, with a pattern if need be.")
        elif asked is None or asked.test.WhichOneof("kind") != "string" or saying.joined:
            self.report.refused(place, Why.NOT_SUPPORTED, "A name is compared with one text; count events of several names by themselves.")
        elif saying.parts[0][0] == "equals":
            match.name = saying.parts[0][1]
        else:
            match.name_test.CopyFrom(asked.test.string)

    def _time(self, saying: Saying, place: str) -> None:
        for operator, right in saying.parts:
            if isinstance(right, Since):
                if operator != "less_than_equal" or self._events.since is not None:
                    told = "How long after another step is said once, with `less_than_equal`."
                    self.report.refused(place, Why.NOT_SUPPORTED, told)
                self._events.since = right
            elif isinstance(right, Day | Ago):
                self._times.append((operator, right))
            else:
                self.report.refused(place, Why.WRONG_TYPE, "A time is compared with a date; give one.")

    def _input(self, saying: Saying, place: str) -> None:
        numbers = [
            whole_number(right.text, _INPUT_MAX) if operator == "equals" and isinstance(right, Number) else None
            for operator, right in saying.parts
        ]
        if None in numbers or self._events.match.input_ids:
            self.report.refused(place, Why.NOT_SUPPORTED, "Inputs are said once, by `equals` with their number, several in an `or`.")
            return
        self._events.match.input_ids.extend(number for number in numbers if number is not None)

    def _filter(self, path: str, saying: Saying, left_place: str, place: str, *, of_list: bool) -> None:
        subject = event_subject(path)
        if subject is None:
            unknown_path(path, pointer(left_place, "path"), self.report)
            return
        asked = asked_of(saying, of_list=of_list)
        if asked is None or asked.excluded or (of_list and asked.test.WhichOneof("kind") != "list"):
            self.report.refused(place, Why.NOT_SUPPORTED, f"This can't be asked of events; {FITTING}")
            return
        note_null(saying, place, self.report)
        self._events.match.where.append(pb.Filter(test=asked.test, **subject))


def note_null(saying: Saying, place: str, report: Report) -> None:
    """A note where being null was asked for."""
    operator = saying.parts[0][0]
    if operator in ("null", "not_null"):
        read = "not_exists" if operator == "null" else "exists"
        report.noted(pointer(place, "operator"), f"`{operator}` is read as `{read}`: null as a value removes an attribute.")


FITTING = (
    "texts take `equals`, `contains`, `starts_with`, `ends_with`, `matches` and their `not_` forms; numbers the comparisons; "
    "true and false `equals`; dates a period."
)
PERIODS = (
    "say `greater_than_equal` a time before now, with `less_than_equal` a later one (offset 0: now) in an `and` of the two; "
    "or a day with `equals`, `less_than`, `greater_than`, `greater_than_equal`, or both its ends."
)

_READERS = {TYPE: _Reading._type, NAME: _Reading._name, TIMESTAMP: _Reading._time, INPUT: _Reading._input}
