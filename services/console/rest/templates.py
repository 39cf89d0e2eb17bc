"""Path templates of google.api.http: `/api/v1/audiences/{audience_id}:activate`.

Source: the grammar in google/api/http.proto. A path is matched as it was sent, and its variables are decoded afterwards, so that an encoded
slash belongs to its variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_PART = re.compile(r"\{([a-z0-9_.]+)(?:=([^{}]*))?\}|([^{}]+)")


class BadTemplate(Exception):
    """A contract holds a template that is none."""


class BadPath(Exception):
    """A path holds bytes that are no UTF-8."""


@dataclass(frozen=True, slots=True)
class Template:
    """`pattern` matches a path as it was sent; `variables` are the paths of fields, in their order."""

    text: str
    pattern: re.Pattern[str]
    variables: tuple[str, ...]
    verb: str

    def match(self, path: str) -> Mapping[str, str] | None:
        """The variables' values by field path, decoded; None for another path. Raises BadPath."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        try:
            return {field: unquote_to_bytes(value).decode() for field, value in zip(self.variables, found.groups(), strict=True)}
        except UnicodeDecodeError:
            raise BadPath(path) from None


def template_of(text: str) -> Template:
    """The template of its text. Raises BadTemplate."""
    body, _, verb = text.rpartition(":") if ":" in text.rpartition("/")[2] else (text, "", "")
    variables, pattern, end = list[str](), "", 0
    for found in _PART.finditer(body):
        if found.start() != end:
            raise BadTemplate(text)
        end = found.end()
        field, segments, literal = found.groups()
        if field is None:
            pattern += _segments(literal)
        else:
            variables.append(field)
            pattern += f"({_segments(segments or '*')})"
    if end != len(body) or not body.startswith("/"):
        raise BadTemplate(text)
    return Template(text, re.compile(pattern + (re.escape(f":{verb}") if verb else "")), tuple(variables), verb)


def _segments(text: str) -> str:
    # A colon begins a verb, and is encoded where it belongs to a value.
    ways = {"*": "[^/:]+", "**": "[^:]+"}
    return "/".join(ways.get(segment, re.escape(segment)) for segment in text.split("/"))
