"""The tree of a text: `and`, `or`, `not` and brackets over criteria."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from muster.definition.v1 import definition_pb2 as pb

from ..validation import CRITERIA_MAX
from .clauses import skip_to
from .criteria import read_criterion
from .cursor import Cursor
from .places import Slip
from .words import AFTER

# Brackets and `not` inside each other; a definition has 32 levels at most, and needs one of them for each.
_DEPTH_MAX = 64
_BETWEEN = ("and", "or", ")", ",")


@dataclass(slots=True)
class Branch:
    """A node and where it stands, from `start` up to `end`."""

    kind: str
    start: int
    end: int
    branches: list[Branch] = field(default_factory=list)
    criterion: pb.Criterion | None = None

    def __iter__(self) -> Iterator[Branch]:
        """This branch and those below, as nodes_of gives nodes."""
        yield self
        for branch in self.branches:
            yield from branch

    def write(self, node: pb.Node) -> None:
        """Makes a node what the branch says."""
        match self.kind:
            case "criterion" if self.criterion is not None:
                node.criterion.CopyFrom(self.criterion)
            case "everyone":
                node.everyone.SetInParent()
            case "exclude":
                self.branches[0].write(node.exclude.node)
            case _:
                group = node.all if self.kind == "all" else node.any
                for branch in self.branches:
                    branch.write(group.nodes.add())


def read_tree(cursor: Cursor) -> Branch:
    """The tree of the whole text. Faults are written to the cursor's slips, and what they stand in is passed over."""
    if cursor.ended:
        raise Slip(0, 0, "The text is empty; write a criterion, or `everyone`.", "everyone")
    tree = _either(cursor, 0)
    while not cursor.ended:
        cursor.slips.add(_stray(cursor))
        cursor.take()
        if cursor.slips.closed:
            break
        cursor.opened = 0
        # Faults behind it are told as well.
        if cursor.accept("and") or cursor.accept("or") or not (cursor.sees(")") or cursor.sees(",") or cursor.ended):
            _either(cursor, 0)
    return tree


def _either(cursor: Cursor, depth: int) -> Branch:
    """Criteria with `or`; `and` binds tighter."""
    first = _both(cursor, depth)
    if not cursor.sees("or"):
        return first
    branches = [first]
    while cursor.accept("or"):
        branches.append(_both(cursor, depth))
    return Branch("any", first.start, cursor.end, branches)


def _both(cursor: Cursor, depth: int) -> Branch:
    first = _one(cursor, depth)
    if not cursor.sees("and"):
        return first
    branches = [first]
    while cursor.accept("and"):
        branches.append(_one(cursor, depth))
    return Branch("all", first.start, cursor.end, branches)


def _one(cursor: Cursor, depth: int) -> Branch:
    """A criterion, an excluded one, or what stands in brackets; with whatever follows passed over, up to what joins criteria."""
    opened, start = cursor.opened, cursor.token.start
    try:
        branch = _unary(cursor, depth)
        if not cursor.ended and not any(cursor.sees(word) for word in _BETWEEN):
            cursor.wrong("`and` or `or` is missing", "join criteria with them", AFTER)
    except Slip as slip:
        cursor.slips.add(slip)
        skip_to(cursor, _BETWEEN, opened)
        if cursor.between and cursor.accept("and"):
            skip_to(cursor, _BETWEEN, opened)
        cursor.between, cursor.opened = False, opened
        branch = Branch("everyone", start, cursor.end)
    if cursor.slips.closed:
        cursor.stop()
    return branch


def _unary(cursor: Cursor, depth: int) -> Branch:
    token = cursor.token
    if depth > _DEPTH_MAX:
        cursor.slips.add(Slip(token.start, token.end, "Brackets and `not` lie too deep inside each other; flatten the groups."))
        cursor.stop()
        return Branch("everyone", token.start, token.end)
    if cursor.sees("not", "followed"):
        cursor.wrong("An event is missing", "write the event before, as in `add to cart, not followed by purchase within 3 days`")
    if cursor.accept("not"):
        inner = _unary(cursor, depth + 1)
        return Branch("exclude", token.start, cursor.end, [inner])
    if cursor.accept("("):
        inner = _either(cursor, depth + 1)
        _close(cursor, token.start)
        return inner
    for group in ("all", "any"):
        if cursor.accept(group, "(") or cursor.accept(group, "of", "("):
            branches = [_either(cursor, depth + 1)]
            while cursor.accept(","):
                branches.append(_either(cursor, depth + 1))
            _close(cursor, token.start)
            return Branch(group, token.start, cursor.end, branches)
    if cursor.accept("everyone"):
        return Branch("everyone", token.start, cursor.end)
    cursor.criteria += 1
    if cursor.criteria > CRITERIA_MAX:
        too_many = f"There are more than {CRITERIA_MAX} criteria; split the definition into several audiences."
        cursor.slips.add(Slip(token.start, token.end, too_many))
        cursor.stop()
        return Branch("everyone", token.start, token.end)
    criterion = pb.Criterion()
    read_criterion(cursor, criterion)
    return Branch("criterion", token.start, cursor.end, criterion=criterion)


def _close(cursor: Cursor, start: int) -> None:
    if cursor.sees(","):
        raise _stray(cursor)
    if not cursor.accept(")"):
        raise Slip(start, start + 1, "This bracket is not closed; write `)` where the group ends.", ")")


def _stray(cursor: Cursor) -> Slip:
    token = cursor.token
    if token.text == ")":
        return Slip(token.start, token.end, "This bracket closes nothing; remove it, or write `(` where the group begins.")
    return Slip(token.start, token.end, "A comma joins criteria only in `all(...)` and `any(...)`; write `and` or `or`.", "and")
