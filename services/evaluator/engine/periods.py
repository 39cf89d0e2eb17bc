"""Windows of time, and the instants at which something crosses their edges. semantics: Time."""

from dataclasses import dataclass

FAR = 1 << 61  # further than any instant


@dataclass(frozen=True)
class Window:
    """The instants t with `now - oldest_ago <= t <= now - newest_ago` and `first <= t <= last`, in milliseconds, ends included.

    None: no such bound.
    """

    oldest_ago: int | None = None
    newest_ago: int | None = None
    first: int | None = None
    last: int | None = None

    def bounds(self, now: int) -> tuple[int, int]:
        """The first and the last instant inside; the first is later than the last where nothing is inside."""
        first = -FAR if self.oldest_ago is None else now - self.oldest_ago
        last = FAR if self.newest_ago is None else now - self.newest_ago
        if self.first is not None:
            first = max(first, self.first)
        if self.last is not None:
            last = min(last, self.last)
        return first, last

    def edges(self) -> list[int]:
        """Each `e` such that an instant t enters or leaves when now reaches `t + e`."""
        enters = [] if self.newest_ago is None else [self.newest_ago]
        leaves = [] if self.oldest_ago is None else [self.oldest_ago + 1]  # at t + oldest_ago itself it is still inside
        return enters + leaves

    def within(self, look_back: int) -> "Window":
        """What of it events are seen in: not older than the look-back, not in the future."""
        oldest = look_back if self.oldest_ago is None else min(self.oldest_ago, look_back)
        return Window(oldest, self.newest_ago or 0, self.first, self.last)
