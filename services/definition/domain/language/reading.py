"""Reads a definition from a text: what it says, or everything that is wrong with it, each fault at its place."""

from __future__ import annotations

from dataclasses import dataclass

from muster.definition.v1 import definition_pb2 as pb

from ..faults import Verdict
from ..paths import walk
from .cursor import Cursor
from .lexer import tokens_of
from .places import Slip, Slips, TextFault, placed
from .tree import Branch, read_tree

TEXT_MAX = 1_000_000  # characters


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read. With faults there is no definition."""

    definition: pb.Definition | None
    faults: tuple[TextFault, ...]
    text: str = ""
    tree: Branch | None = None

    def judged(self, verdict: Verdict) -> Reading:
        """The same, with the faults of the definition that was read, each at the node where it lies. What is wrong outside of the
        definition has no place in the text and is left out."""
        if self.definition is None or self.tree is None:
            return self
        branches = {path: branch for (path, _, _), branch in zip(walk(self.definition), self.tree, strict=True)}
        slips = Slips()
        for fault in verdict.faults:
            if fault.field.startswith("definition"):
                branch = branches.get(_node_of(fault.field, branches), self.tree)
                slips.add(Slip(branch.start, branch.end, fault.description))
        if not slips.found:
            return self
        return Reading(None, placed(slips.found.values(), self.text))


def read(text: str) -> Reading:
    """The definition that a text says. Never raises, whatever the text is."""
    if len(text) > TEXT_MAX:
        too_long = f"The text has {len(text):,} characters; shorten it to {TEXT_MAX:,} or fewer."
        return Reading(None, (TextFault(1, 1, 0, too_long),))
    slips = Slips()
    tree: Branch | None = None
    try:
        tree = read_tree(Cursor(text, tokens_of(text, slips), slips))
    except Slip as slip:
        slips.add(slip)
    if tree is None or slips.found:
        return Reading(None, placed(slips.found.values(), text))
    definition = pb.Definition()
    tree.write(definition.root)
    return Reading(definition, (), text, tree)


def _node_of(path: str, branches: dict[str, Branch]) -> str:
    """The innermost node that a path leads into."""
    while path and path not in branches:
        path = path.rpartition(".")[0]
    return path
