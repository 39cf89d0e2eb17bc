"""Forms: the settings that a partner needs, as data, and reading them with every fault at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from services.forwarder.domain.identities import Kind

VALUE_MAX_CHARACTERS = 2_000

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}


class SettingType(Enum):
    """What a value must look like; all values are kept as text."""

    STRING = "string"
    # Kept apart, never shown again.
    SECRET = "secret"  # noqa: S105  # the name of a type
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    # Names of identity types with commas between; empty: all that the partner accepts.
    IDENTITY_TYPES = "identity_types"


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a form. `least` and `most` bound an INTEGER's value, and the length of a STRING or SECRET."""

    key: str
    label: str
    help: str
    type: SettingType
    required: bool = False
    default: str = ""
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class FormFault:
    """One fault of a form: its key, a sentence, and a stable reason."""

    key: str
    description: str
    reason: str


class FormFaults(Exception):
    """The values do not fill the form; all faults are there."""

    def __init__(self, faults: list[FormFault]) -> None:
        super().__init__("; ".join(f"{fault.key}: {fault.description}" for fault in faults))
        self.faults = faults


MISSING = "SETTING_MISSING"
INVALID = "SETTING_INVALID"
UNKNOWN = "UNKNOWN_SETTING"
TARGET_REFUSED = "TARGET_REFUSED"

F = TypeVar("F")


def setting(key: str, label: str, help: str, type: SettingType = SettingType.STRING, **more: Any) -> Any:
    """A field of a form class, which is a frozen dataclass."""
    return field(metadata={"setting": Setting(key, label, help, type, **more)})


def settings_of(form: type) -> tuple[Setting, ...]:
    """The settings of a form class, in its order."""
    return tuple(line.metadata["setting"] for line in dataclasses.fields(form))


def secrets_of(form: type) -> frozenset[str]:
    """The keys whose values are secret."""
    return frozenset(line.key for line in settings_of(form) if line.type is SettingType.SECRET)


def read(form: type[F], values: Mapping[str, str]) -> F:
    """The form filled with these values and, where one is absent or empty, the default. Raises FormFaults with every fault."""
    faults: list[FormFault] = []
    filled: dict[str, object] = {}
    lines = {line.name: line.metadata["setting"] for line in dataclasses.fields(form)}  # type: ignore[arg-type]  # a dataclass
    known = {line.key for line in lines.values()}
    faults += [FormFault(key, "There is no setting of this name.", UNKNOWN) for key in sorted(values) if key not in known]
    for name, line in lines.items():
        text = values.get(line.key, "").strip() or line.default
        if not text and line.required:
            faults.append(FormFault(line.key, "A value is needed.", MISSING))
            continue
        try:
            filled[name] = _value(line, text)
        except ValueError as fault:
            faults.append(FormFault(line.key, str(fault), INVALID))
    if faults:
        raise FormFaults(faults)
    return form(**filled)


def _value(line: Setting, text: str) -> object:
    if len(text) > VALUE_MAX_CHARACTERS or "\0" in text:
        raise ValueError(f"At most {VALUE_MAX_CHARACTERS} characters, and no NUL.")
    match line.type:
        case SettingType.INTEGER:
            return _integer(line, text)
        case SettingType.BOOLEAN:
            if text.lower() not in _TRUE | _FALSE:
                raise ValueError("Must be true or false.")
            return text.lower() in _TRUE
        case SettingType.CHOICE:
            if text not in line.choices:
                raise ValueError(f"Must be one of {', '.join(line.choices)}.")
            return text
        case SettingType.IDENTITY_TYPES:
            return _kinds(text)
        case SettingType.STRING | SettingType.SECRET:
            if text and line.least is not None and len(text) < line.least:
                raise ValueError(f"At least {line.least} characters.")
            if line.most is not None and len(text) > line.most:
                raise ValueError(f"At most {line.most} characters.")
            return text


def _integer(line: Setting, text: str) -> int:
    bounds = f" from {line.least} to {line.most}" if line.least is not None and line.most is not None else ""
    # int() also takes underscores and other scripts' digits.
    if not text.isascii() or not text.removeprefix("-").isdigit():
        raise ValueError(f"Must be a whole number{bounds}.")
    value = int(text)
    if (line.least is not None and value < line.least) or (line.most is not None and value > line.most):
        raise ValueError(f"Must be a whole number{bounds}.")
    return value


def _kinds(text: str) -> frozenset[Kind]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name.upper() not in Kind.__members__]
    if unknown:
        raise ValueError(f"There is no identity type {', '.join(unknown)}.")
    return frozenset(Kind[name.upper()] for name in names)
