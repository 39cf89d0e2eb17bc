"""What a sentence must know beside the definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Telling:
    """The account's look-back, the names of its audiences by their numbers, and the workspaces of the audience that is told of."""

    look_back_days: int = 30
    audiences: Mapping[int, str] = field(default_factory=dict)
    workspace_ids: tuple[int, ...] = ()


def article(noun: str) -> str:
    """A noun with `a` or `an` before it."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def listed(texts: list[str], last: str = "and") -> str:
    """Texts with commas between, and a word before the last one."""
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} {last} {texts[-1]}"
