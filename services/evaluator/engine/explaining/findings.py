"""What is found of one person: values, without words."""

from typing import TYPE_CHECKING, NamedTuple

from ..facts import Value

if TYPE_CHECKING:
    from ..explain import Explanation


class Counted(NamedTuple):
    """How many events lie in the window. `more`: so many would have to be added, no later than `until_ms` (None: at any time); `fewer`: so
    many would have to go, which by time alone have gone at `gone_ms`. Both are None where nothing is missing that way."""

    number: int
    more: int | None = None
    until_ms: int | None = None
    fewer: int | None = None
    gone_ms: int | None = None


class Followed(NamedTuple):
    """How far a sequence went. `steps`: of `of` steps so many, the last one latest at `reached_ms`. Once all are there: `followed_ms`, when
    what must not follow did; `due_ms`: when the time in which it must not is over."""

    steps: int
    of: int
    reached_ms: int | None = None
    followed_ms: int | None = None
    due_ms: int | None = None


class Held(NamedTuple):
    """The present value of something; None where it is missing."""

    value: Value | None


class Active(NamedTuple):
    """Whether anything was ever heard of the person in the audience's workspaces."""

    active: bool


class Inner(NamedTuple):
    """Another audience; one that is not active has no members. `explanation`: why in that one; None for one that is not active, and inside
    of another audience."""

    audience: int
    active: bool
    explanation: "Explanation | None"


Finding = Counted | Followed | Held | Active | Inner


class Cause(NamedTuple):
    """What turns a criterion as time passes: something of the time `time_ms` that comes into its period, or leaves it.

    `enters` is None where neither is the case: a time is over. `step`: of a sequence, whose event it is; None: of what must not follow.
    """

    time_ms: int
    enters: bool | None
    step: int | None = 0
