"""Rules of names, tags and other texts that people type. Characters are counted as Unicode code points."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from .faults import Place, Reason

NAME_MAX = 100
TAG_MAX = 18
TAGS_MAX = 1_000
DESCRIPTION_MAX = 2_000
NOTE_MAX = 1_000

# Cc: controls, NUL among them; Zl and Zp: the line and paragraph separators; Cs: halves of surrogate pairs.
_UNPRINTABLE = {"Cc", "Zl", "Zp", "Cs"}
# Errors travel in the metadata of a call, which holds 8 KB in all.
_FEW_BYTES = 500
_LINE_BREAKS = {"\n", "\r", "\t"}


def check_name(name: str, place: Place, *, required: bool = True) -> None:
    """A name is one line of 1 to 100 characters; not only blanks. One that is not required may be empty."""
    if not name.strip():
        if required or name:
            place.fault(Reason.NAME_EMPTY, "The name is empty; give it 1 to 100 characters that are not all blanks.")
        return
    if len(name) > NAME_MAX:
        place.fault(Reason.NAME_TOO_LONG, f"The name has {len(name)} characters; shorten it to {NAME_MAX} or fewer.")
    _check_one_line(name, place, "The name")


def check_tags(tags: tuple[str, ...], place: Place) -> None:
    """Tags have 1 to 18 characters each (semantics: Bulk connections, tags, clone)."""
    if len(tags) > TAGS_MAX:
        place.fault(Reason.TOO_LARGE, f"There are {len(tags)} tags; keep {TAGS_MAX} or fewer.")
        return
    for index, tag in enumerate(tags):
        at = place.at("tags", index)
        if not tag.strip():
            at.fault(Reason.NAME_EMPTY, f"The tag is empty; give it 1 to {TAG_MAX} characters or leave it out.")
            continue
        if len(tag) > TAG_MAX:
            at.fault(Reason.TAG_TOO_LONG, f"The tag has {len(tag)} characters; shorten it to {TAG_MAX} or fewer.")
        _check_one_line(tag, at, "The tag")


def check_description(text: str, place: Place) -> None:
    """A description may have several lines, at most 2,000 characters in all."""
    _check_lines(text, place, "The description", DESCRIPTION_MAX)


def check_note(text: str, place: Place) -> None:
    """The note of a revision may have several lines, at most 1,000 characters in all."""
    _check_lines(text, place, "The note", NOTE_MAX)


def unprintable(text: str) -> str:
    """The first control character or line separator of a text, as `U+0000`; empty when there is none."""
    for character in text:
        if unicodedata.category(character) in _UNPRINTABLE:
            return f"U+{ord(character):04X}"
    return ""


def folded(text: str) -> str:
    """The form in which texts are searched and sorted, so that case does not matter."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def few(texts: Sequence[str]) -> str:
    """Texts for a message, with commas between: as many as fit in 500 bytes, and how many more there are."""
    shown, length = list[str](), 0
    for text in texts:
        length += len(text.encode()) + 2
        if length > _FEW_BYTES and shown:
            return f"{', '.join(shown)} and {len(texts) - len(shown)} more"
        shown.append(text)
    return ", ".join(shown)


def _check_one_line(text: str, place: Place, what: str) -> None:
    if found := unprintable(text):
        place.fault(Reason.CONTROL_CHARACTER, f"{what} holds the control character {found}; remove it.")


def _check_lines(text: str, place: Place, what: str, most: int) -> None:
    if len(text) > most:
        place.fault(Reason.TOO_LARGE, f"{what} has {len(text)} characters; shorten it to {most} or fewer.")
    if found := unprintable("".join(character for character in text if character not in _LINE_BREAKS)):
        place.fault(Reason.CONTROL_CHARACTER, f"{what} holds the control character {found}; remove it.")
