"""What a file of an audience says. The JSON Schema for editors is made from these classes, and so is the reading of files."""

from __future__ import annotations

import enum
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

NAME_MAX = 100
TAG_MAX = 18
TAGS_MAX = 1_000
DESCRIPTION_MAX = 2_000
VARIATIONS_MAX = 5
CONTROL = "Control"
# Controls, separators of lines and paragraphs, and halves of characters.
_UNPRINTABLE = {"Cc", "Zl", "Zp", "Cs"}
_LINE_BREAKS = dict.fromkeys(map(ord, "\n\r\t"))


class State(enum.StrEnum):
    """Where an audience is in its life."""

    DRAFT = "draft"
    ACTIVE = "active"
    INACTIVE = "inactive"
    ARCHIVED = "archived"


def folded(name: str) -> str:
    """The form in which names of audiences are compared: an account has each once, upper and lower case apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _one_line(text: str) -> str:
    if any(unicodedata.category(character) in _UNPRINTABLE for character in text):
        raise ValueError("it holds a control character or a line break; remove it")
    return text


def _lines(text: str) -> str:
    _one_line(text.translate(_LINE_BREAKS))
    return text


def _instant(value: object) -> object:
    """A text as an instant to the millisecond; without an offset in UTC."""
    if not isinstance(value, str):
        return value
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("an instant is written as 2026-12-01T08:00Z, or with its own offset as 2026-12-01T08:00+01:00") from None
    instant = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _once(values: Sequence[Any]) -> Sequence[Any]:
    if len(set(values)) < len(values):
        twice = sorted({str(value) for value in values if list(values).count(value) > 1})
        raise ValueError(f"{', '.join(twice)} is there twice; keep one")
    return values


def _without_end(text: str) -> str:
    return text.rstrip()


# `\S`: not all blanks.
Name = Annotated[str, StringConstraints(max_length=NAME_MAX, pattern=r"\S"), AfterValidator(_one_line)]
Tag = Annotated[str, StringConstraints(max_length=TAG_MAX, pattern=r"\S"), AfterValidator(_one_line)]
Instant = Annotated[datetime, BeforeValidator(_instant)]


class Part(BaseModel):
    """What all parts of a file share: no field is known but those that are named."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Schedule(Part):
    """When the audience is activated and deactivated by itself, once each."""

    activate: Instant | None = Field(default=None, description="When it is activated: 2026-12-01T08:00Z.")
    deactivate: Instant | None = Field(default=None, description="When it is deactivated, which is later.")

    @model_validator(mode="after")
    def _in_order(self) -> Schedule:
        if self.activate and self.deactivate and self.deactivate <= self.activate:
            raise ValueError("it ends before it begins; give it a later end")
        return self


class Variation(Part):
    """One part of the people of a test."""

    name: Name = Field(description="At most 100 characters; none is called Control, which is there by itself.")
    percentage: int = Field(ge=1, le=100, description="Of all people; Control holds what is left of 100.")


class AbTest(Part):
    """An A/B test. A saved one is fixed: to change it ends it, and begins another."""

    name: Name = Field(default="A/B test", description="At most 100 characters.")
    variations: tuple[Variation, ...] = Field(min_length=1, max_length=VARIATIONS_MAX, description="Beside Control, in their order.")

    @model_validator(mode="after")
    def _adds_up(self) -> AbTest:
        total = sum(variation.percentage for variation in self.variations)
        if total > 100:
            raise ValueError(f"the variations add up to {total}%; lower them to 100% or less in all")
        names = [variation.name.casefold() for variation in self.variations]
        if CONTROL.casefold() in names:
            raise ValueError(f"{CONTROL} is there by itself and holds what is left; leave it out or name it otherwise")
        _once(names)
        return self


class Connection(Part):
    """Where the audience, or one variation of its test, is sent to."""

    configuration: Name = Field(description="The name of the configuration, which holds the credentials.")
    variation: str = Field(
        default="", max_length=NAME_MAX, description="A variation of the test, or Control; otherwise the whole audience."
    )
    settings: dict[str, str] = Field(default_factory=dict, description="What the connection itself needs, by key; never a secret.")

    @property
    def key(self) -> tuple[str, str]:
        """Tells the connections of an audience apart."""
        return self.configuration, self.variation


class Document(Part):
    """An audience as a file says it. Everything is called by its name; nothing has a number."""

    model_config = ConfigDict(title="An audience of Muster")

    name: Name = Field(description="What the audience is known by in its account.")
    previous_name: Name | None = Field(default=None, description="The name that it had: where only that is there, it is renamed.")
    external_name: Annotated[str, AfterValidator(_one_line)] = Field(
        default="", max_length=NAME_MAX, pattern=r"^$|\S", description="What partners see; otherwise the name."
    )
    description: Annotated[str, AfterValidator(_lines)] = Field(default="", max_length=DESCRIPTION_MAX, description="For colleagues.")
    tags: Annotated[tuple[Tag, ...], AfterValidator(_once)] = Field(
        default=(), max_length=TAGS_MAX, description="At most 18 characters each."
    )
    workspaces: Annotated[tuple[Name, ...], AfterValidator(_once)] = Field(min_length=1, description="The names of the workspaces.")
    inputs: Annotated[tuple[str, ...], AfterValidator(_once)] = Field(
        default=(),
        description="The names of the inputs that event criteria read, WORKSPACE/INPUT where a name is not enough; otherwise all.",
    )
    definition: Annotated[str, AfterValidator(_without_end)] = Field(
        pattern=r"\S", description='Who belongs to it, in the text language; audiences, workspaces and inputs by name: member of "Loyal".'
    )
    state: State | None = Field(
        default=None, description="Where the audience is in its life; left out: where it is, and a new one is a draft."
    )
    schedule: Schedule | None = Field(default=None, description="When it is activated and deactivated by itself.")
    test: AbTest | None = Field(default=None, description="Its A/B test.")
    connections: tuple[Connection, ...] = Field(default=(), description="Where it is sent to while it is active.")

    def misfits(self) -> list[tuple[tuple[str | int, ...], str]]:
        """What does not fit together, each with its path."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        if self.state is State.ARCHIVED and self.schedule is not None:
            found.append((("schedule",), "an archived audience has no schedule; remove it or give another state"))
        if self.previous_name == self.name:
            found.append((("previous_name",), "this is the name itself; remove it"))
        variations = [variation.name for variation in self.test.variations] if self.test else []
        known = {"", *variations, *([CONTROL] if self.test else [])}
        keys = [connection.key for connection in self.connections]
        for index, (key, connection) in enumerate(zip(keys, self.connections, strict=True)):
            if connection.variation not in known:
                mend = f"there are {', '.join([*variations, CONTROL])}" if self.test else "the audience has no test"
                found.append((("connections", index, "variation"), f"no variation is called {connection.variation!r}: {mend}"))
            if key in keys[:index]:
                found.append((("connections", index), f"it is connected to {connection.configuration} above already; keep one"))
        return found
