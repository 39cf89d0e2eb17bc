"""What an account has, by name: workspaces, inputs, configurations and audiences."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SEPARATOR = "/"


class Unresolved(Exception):
    """A name stands for nothing, or for several things; the message says which are near, or how to tell them apart."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a workspace."""

    input_id: int
    workspace_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration of a partner. `secrets` are the settings of its connections that nobody may see."""

    configuration_id: int
    name: str
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Directory:
    """The names of an account. Names need not be unique there; they must be where a file uses them."""

    workspaces: Mapping[int, str] = field(default_factory=dict)
    inputs: Mapping[int, Input] = field(default_factory=dict)
    configurations: Mapping[int, Configuration] = field(default_factory=dict)
    audiences: Mapping[int, str] = field(default_factory=dict)

    def workspace(self, name: str) -> int:
        """The number of a workspace. Raises Unresolved."""
        return _only(name, self.workspaces.items(), "workspace", "`muster workspace list` shows them")

    def input(self, name: str, workspaces: Iterable[int]) -> int:
        """The number of an input of these workspaces, by its name or by WORKSPACE/INPUT. Raises Unresolved."""
        of = set(workspaces)
        names = [
            (one.input_id, called) for one in self.inputs.values() if one.workspace_id in of for called in {one.name, self._qualified(one)}
        ]
        return _only(name, names, "input", "write WORKSPACE/INPUT, or give one another name with `muster input update`")

    def configuration(self, name: str) -> Configuration:
        """A configuration. Raises Unresolved."""
        names = [(one.configuration_id, one.name) for one in self.configurations.values()]
        return self.configurations[_only(name, names, "configuration", "give one another name")]

    def audience(self, name: str) -> int:
        """The number of an audience that is not deleted. Raises Unresolved."""
        return _only(name, self.audiences.items(), "audience", "give one another name with `muster audience edit`")

    def input_name(self, input_id: int, workspaces: Iterable[int]) -> str:
        """What a file calls an input: its name, where that is enough among these workspaces."""
        one = self.inputs.get(input_id)
        if one is None:
            return str(input_id)
        try:
            return one.name if self.input(one.name, workspaces) == input_id else self._qualified(one)
        except Unresolved:
            return self._qualified(one)

    def _qualified(self, one: Input) -> str:
        return f"{self.workspaces.get(one.workspace_id, one.workspace_id)}{SEPARATOR}{one.name}"


def _only(name: str, names: Iterable[tuple[int, str]], what: str, mend: str) -> int:
    by_name: dict[str, set[int]] = defaultdict(set)
    for number, called in names:
        by_name[called].add(number)
    found = by_name.get(name, set())
    if len(found) > 1:
        raise Unresolved(f"{len(found)} {what}s are called {name!r} (numbers {', '.join(map(str, sorted(found)))}); {mend}")
    if not found:
        raise Unresolved(f"there is no {what} {name!r}{nearest(name, by_name)}")
    return found.pop()


def nearest(name: str, known: Iterable[str]) -> str:
    """`: did you mean ...?` with what is like the name; what there is, where nothing is and it is not much."""
    names = sorted(set(known))
    like = difflib.get_close_matches(name, names, n=1, cutoff=0.6) or [one for one in names if one.casefold() == name.casefold()]
    if like:
        return f"; did you mean {like[0]!r}?"
    return f"; there are: {_few(names)}" if names else "; there is none yet"


def _few(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
