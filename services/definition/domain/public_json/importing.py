"""A text in the public JSON form as a definition. Whatever can't be one is refused with its place; nothing is approximated."""

from __future__ import annotations

import re

from muster.definition.v1 import definition_pb2 as pb

from ..validation import DEPTH_MAX, LANGUAGE_VERSION
from .conditions import FITTING, PERIODS, Events, events_of, note_null
from .dates import Ago, Day
from .models import EVENTS, TIMESTAMP, USER
from .operands import AUDIENCE_OPERATORS, LOGIC, OPERATORS, SEQUENCE, has_keys, kind_of, operator_of, right_of, whole_number
from .report import Report, Why
from .sayings import BETWEEN, PRESENCE_WORDS, Saying, asked_of
from .subjects import Subject, criterion, subject_of
from .text import Json, parsed, pointer

_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)([-+][0-9A-Za-z.+-]+)?", re.ASCII)
_AUDIENCE_MAX = 2**63 - 1


def imported(text: str) -> tuple[pb.Definition | None, Report]:
    """The definition of a text and what became of each part; None when something was refused. Never raises."""
    report = Report()
    value = parsed(text, report)
    if not report.complete or not has_keys(value, "", report, ("schema_version", "audience")):
        return None, report
    _check_version(value["schema_version"], "/schema_version", report)
    root = _Import(report).expression(value["audience"], "/audience", 1)
    if root is None or not report.complete:
        return None, report
    return pb.Definition(root=root, language_version=LANGUAGE_VERSION), report


def same_again(said: Json) -> pb.Node | None:
    """What an expression is read as; None where it is refused."""
    return _Import(Report()).expression(said, "", 1)


def reads_as_one(said: Json) -> bool:
    """Whether an `and` or `or` is read as one criterion, as its parts are comparisons of one thing that say one test together."""
    return _Import(Report()).together(said, "") is not None


def _check_version(version: Json, place: str, report: Report) -> None:
    if not isinstance(version, str) or _SEMVER.fullmatch(version) is None:
        report.refused(place, Why.WRONG_TYPE, "The version of the schema is a text such as `1.6.0`.")
    elif not version.startswith("1."):
        report.refused(place, Why.UNKNOWN_VALUE, "Only version 1 of the schema is read; export the audience in it.")


class _Import:
    """One walk over one expression."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def expression(self, value: Json, place: str, depth: int) -> pb.Node | None:
        """The node that an expression says; None when something of it was refused."""
        if self._report.full:
            self._report.omitted += 1
            return None
        if depth > DEPTH_MAX:
            self._report.refused(place, Why.TOO_DEEP, f"The expression lies deeper than {DEPTH_MAX} levels; flatten the groups.")
            return None
        operator = operator_of(value, place, self._report, OPERATORS)
        if operator is None:
            return None
        if operator in LOGIC:
            return self._group(operator, value, place, depth)
        if operator == SEQUENCE:
            return self._sequence(value, place)
        if operator in PRESENCE_WORDS:
            return self._presence(operator, value, place)
        if not has_keys(value, place, self._report, ("operator", "left", "right")):
            return None
        if operator in AUDIENCE_OPERATORS:
            return self._member_of(operator, value, place)
        subject = subject_of(value["left"], pointer(place, "left"), self._report)
        right = right_of(operator, value["right"], pointer(place, "right"), self._report)
        if subject is None or right is None:
            return None
        return self._asked(subject, Saying.one(operator, right), place)

    def together(self, value: Json, place: str) -> tuple[pb.Node, Report] | None:
        """The one criterion that comparisons of one thing say together, with its report; None where they do not."""
        parts = value["expressions"]
        if not all(isinstance(part, dict) and set(part) == {"operator", "left", "right"} for part in parts):
            return None
        words = [part["operator"] for part in parts]
        lists = {"or": "equals", "and": "not_equals"}[value["operator"]]
        if any(word != lists for word in words) and (value["operator"] != "and" or tuple(words) != BETWEEN):
            return None
        if any(part["left"] != parts[0]["left"] for part in parts):
            return None
        at = pointer(place, "expressions")
        tried = _Import(Report())
        subject = subject_of(parts[0]["left"], pointer(at, 0, "left"), tried._report)
        rights = [right_of(part["operator"], part["right"], pointer(at, i, "right"), tried._report) for i, part in enumerate(parts)]
        if subject is None or None in rights:
            return None
        node = tried._asked(subject, Saying(value["operator"], tuple(zip(words, rights, strict=True))), place)
        return (node, tried._report) if node is not None else None

    def _group(self, operator: str, value: Json, place: str, depth: int) -> pb.Node | None:
        if not has_keys(value, place, self._report, ("operator", "expressions")):
            return None
        parts, at = value["expressions"], pointer(place, "expressions")
        if not isinstance(parts, list):
            self._report.refused(at, Why.WRONG_TYPE, f"A list of expressions is needed, not {kind_of(parts)}.")
            return None
        if not parts:
            told = f'The group is empty; add an expression, or say everyone: `{{"operator": "exists", "operand": {{"model": "{USER}"}}}}`.'
            self._report.refused(at, Why.MISSING, told)
            return None
        if (one := self.together(value, place)) is not None:
            node, said = one
            self._report.take(said)
            return node
        nodes = [self.expression(part, pointer(at, index), depth + 1) for index, part in enumerate(parts)]
        group = pb.Group(nodes=[node for node in nodes if node is not None])
        if None in nodes:
            return None
        return pb.Node(all=group) if operator == "and" else pb.Node(any=group)

    def _presence(self, operator: str, value: Json, place: str) -> pb.Node | None:
        if not has_keys(value, place, self._report, ("operator", "operand")):
            return None
        if value["operand"] == {"model": USER}:
            self._report.taken(place, "everyone")
            everyone = pb.Node(everyone=pb.Everyone())
            return everyone if operator in ("exists", "not_null") else pb.Node(exclude=pb.Exclude(node=everyone))
        subject = subject_of(value["operand"], pointer(place, "operand"), self._report)
        return None if subject is None else self._asked(subject, Saying.one(operator), place)

    def _asked(self, subject: Subject, saying: Saying, place: str) -> pb.Node | None:
        asked = asked_of(saying, past=subject.past, of_list=subject.of_list)
        node = None if asked is None else subject.node(asked.test)
        if asked is None or node is None:
            dates = any(isinstance(right, Day | Ago) for _, right in saying.parts)
            told = f"This can't be asked of the {subject.words}; {PERIODS if dates else FITTING}"
            self._report.refused(place, Why.NOT_SUPPORTED, told)
            return None
        note_null(saying, place, self._report)
        self._report.taken(place, subject.words)
        return pb.Node(exclude=pb.Exclude(node=node)) if asked.excluded else node

    def _member_of(self, operator: str, value: Json, place: str) -> pb.Node | None:
        right = pointer(place, "right")
        if isinstance(value["right"], list):
            self._report.refused(right, Why.WRONG_TYPE, "A list can't be compared with; write an `or` of `equals`, one for each entry.")
            return None
        if not has_keys(value["right"], right, self._report, ("audience",)):
            return None
        if value["left"] != {"model": USER}:
            told = f'Members are people: on the left of `{operator}` stands `{{"model": "{USER}"}}`.'
            self._report.refused(pointer(place, "left"), Why.NOT_SUPPORTED, told)
            return None
        text = value["right"]["audience"]
        number = whole_number(text, _AUDIENCE_MAX) if isinstance(text, str) and text.isascii() and text.isdigit() else None
        if number is None:
            told = "An audience is named by its number, as a text; put in that of the audience that is meant here."
            self._report.refused(pointer(right, "audience"), Why.UNKNOWN_VALUE, told)
            return None
        self._report.taken(place, f"members of the audience {number}")
        node = criterion(member_of=pb.MemberOfCriterion(audience_id=number))
        return node if operator == "in" else pb.Node(exclude=pb.Exclude(node=node))

    def _sequence(self, value: Json, place: str) -> pb.Node | None:
        if not has_keys(value, place, self._report, ("operator", "sequence")):
            return None
        steps, at = value["sequence"], pointer(place, "sequence")
        if not isinstance(steps, list) or not steps:
            self._report.refused(at, Why.WRONG_TYPE, "A list of one or more steps is needed.")
            return None
        read = [self._step(step, pointer(at, index)) for index, step in enumerate(steps)]
        if any(one is None for one in read):
            return None
        aliases = [str(step["alias"]) for step in steps]
        sequence = pb.SequenceCriterion()
        for index, events in enumerate(one for one in read if one is not None):
            if aliases[index] in aliases[:index]:
                self._report.refused(pointer(at, index, "alias"), Why.UNKNOWN_VALUE, "The alias is that of a step before; choose another.")
            if events.when != (read[0].when if read[0] is not None else None):
                told = "The steps lie in different periods, and a sequence has one; say the same of each."
                self._report.refused(pointer(at, index, "condition"), Why.NOT_SUPPORTED, told)
            step = sequence.steps.add(match=events.match)
            if events.since is not None:
                if index == 0 or events.since.alias != aliases[index - 1]:
                    told = "The time of a step counts from the step right before it; name its alias."
                    self._report.refused(pointer(at, index, "condition"), Why.NOT_SUPPORTED, told)
                step.within.count, step.within.unit = events.since.count, events.since.unit  # type: ignore[assignment]
            if events.when is not None:
                sequence.when.CopyFrom(events.when)
        self._report.taken(place, f"a sequence of {len(steps)} steps")
        return criterion(sequence=sequence)

    def _step(self, step: Json, place: str) -> Events | None:
        if self._report.full:
            self._report.omitted += 1
            return None
        if not has_keys(step, place, self._report, ("alias", "operand"), ("condition",)):
            return None
        if not isinstance(step["alias"], str):
            self._report.refused(pointer(place, "alias"), Why.WRONG_TYPE, f"An alias is a text, not {kind_of(step['alias'])}.")
            return None
        if step["operand"] != {"model": EVENTS, "path": TIMESTAMP}:
            told = f'Steps are ordered by the time of events: the operand is `{{"model": "{EVENTS}", "path": "{TIMESTAMP}"}}`.'
            self._report.refused(pointer(place, "operand"), Why.NOT_SUPPORTED, told)
            return None
        if "condition" not in step:
            self._report.refused(place, Why.MISSING, "The key `condition` is missing; say the type of the events.")
            return None
        return events_of(step["condition"], pointer(place, "condition"), self._report, steps=True)
