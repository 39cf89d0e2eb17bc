"""What the demo shows: calm, one line for each thing done, and figures that are alive while something happens."""

from __future__ import annotations

import io
import math
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cli.output import count

_REFRESH_PER_SECOND = 6
_DEPARTURES_SHOWN = 6
_INDENT = (0, 0, 0, 4)
_PICTURE_WIDTH = 96


@dataclass(slots=True)
class Figures:
    """What is true at the moment, for the lines that are alive."""

    size: int = 0
    adds: int = 0
    drops: int = 0
    at_webhook: int = 0
    delivered: int = 0


@dataclass(slots=True)
class Departures:
    """Who left while we watched. Times in milliseconds."""

    by_session: list[float] = field(default_factory=list)
    by_time: list[float] = field(default_factory=list)
    newest: deque[str] = field(default_factory=lambda: deque(maxlen=_DEPARTURES_SHOWN))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed (nearest rank); 0 where there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def milliseconds(value: float) -> str:
    """`84 ms`, `1.2 s`."""
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


class Step:
    """A thing being done; `detail` is what the line says in the end."""

    detail = ""


class Show:
    """Prints to a console; with `quiet`, nothing. What stays on the screen is kept for `picture`."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._kept = Console(file=io.StringIO(), record=True, width=_PICTURE_WIDTH, color_system="truecolor", highlight=False)
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def say(self, words: RenderableType = "") -> None:
        """A line."""
        self._kept.print(words)
        if not self._quiet:
            self._console.print(words, soft_wrap=True)

    def picture(self, title: str) -> str:
        """What was said so far, as an SVG that loads nothing."""
        # Rich's own template fetches a font; any monospaced one does, as each word is set to its width.
        template = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
        return self._kept.export_svg(title=title, code_format=template)

    @contextmanager
    def step(self, doing: str, done: str) -> Generator[Step, None, None]:
        """One thing, in words while it is being done and once it is done; then with its time."""
        step = Step()
        began = time.monotonic()
        if self._quiet:
            yield step
            return
        try:
            with self._console.status(f"{escape(doing)} ...", spinner_style="cyan"):
                yield step
        except BaseException:
            self.say(f"  [red]✗[/] {escape(doing)}")
            raise
        self.done(done, step.detail, time.monotonic() - began)

    def done(self, title: str, detail: str, seconds: float) -> None:
        """The line of a thing that is done."""
        took = f"[dim]{seconds:5.1f} s[/]"
        self.say(f"  [green]✓[/] {took}  [bold]{escape(title)}[/]{f'  {escape(detail)}' if detail else ''}")

    def more(self, words: str) -> None:
        """A line under that of a thing that is done."""
        self.say(f"               {escape(words)}")

    @contextmanager
    def sending(self, total: int, figures: Figures) -> Generator[Sending, None, None]:
        """A bar for the events that are sent, over the figures of the audience."""
        sending = Sending(total)
        if self._quiet:
            yield sending
            return
        with self._live(lambda: _load(sending, figures)):
            yield sending

    @contextmanager
    def watching(self, figures: Figures, departures: Departures, expected: tuple[int, int]) -> Generator[None, None, None]:
        """The audience alive: who leaves, why, and how soon the webhook knew. `expected`: by a session, by time."""
        if self._quiet:
            yield
            return
        with self._live(lambda: _watch(figures, departures, expected)):
            yield

    def _live(self, render: Callable[[], RenderableType]) -> Live:
        """Lines that are alive until something takes their place."""
        return Live(console=self._console, refresh_per_second=_REFRESH_PER_SECOND, transient=True, get_renderable=render)

    def table(self, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        """Name, figure, and a remark, in lines."""
        shown = Table(
            title=title, title_style="bold", title_justify="left", show_header=False, box=None, padding=(0, 3, 0, 0), pad_edge=False
        )
        shown.add_column(no_wrap=True)
        shown.add_column(justify="right", style="bold", no_wrap=True)
        shown.add_column(style="dim", overflow="fold")
        for row in rows:
            shown.add_row(*row)
        self.say()
        self.say(Padding(shown, (0, 0, 0, 2)))
        self.say()


class Sending:
    """How far the sending is."""

    def __init__(self, total: int) -> None:
        self._began = time.monotonic()
        self._sent = 0
        self.bar = Progress(
            TextColumn("sending"),
            BarColumn(bar_width=36),
            MofNCompleteColumn(),
            TextColumn("events"),
            TextColumn("[cyan]{task.fields[rate]}"),
            TimeElapsedColumn(),
        )
        self._task: TaskID = self.bar.add_task("", total=total, rate="")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Events a second, over all of it."""
        return self._sent / self.seconds if self.seconds else 0.0

    def sent(self, events: int) -> None:
        """So many more were accepted."""
        self._sent += events
        self.bar.update(self._task, completed=self._sent, rate=f"{count(round(self.rate))}/s")


def _load(sending: Sending, figures: Figures) -> RenderableType:
    return Padding(Group(sending.bar, _figures(figures)), _INDENT)


def _watch(figures: Figures, departures: Departures, expected: tuple[int, int]) -> RenderableType:
    lines: list[RenderableType] = [_figures(figures)]
    sessions = departures.by_session
    known = f"   seen at the webhook after p50 {milliseconds(percentile(sessions, 0.5))}, p99 {milliseconds(percentile(sessions, 0.99))}"
    lines.append(Text(f"left by a third session  {len(sessions):>4} of {expected[0]}{known if sessions else ''}"))
    late = f"   at most {milliseconds(max(departures.by_time))} after their instant" if departures.by_time else ""
    lines.append(Text(f"left as time passed      {len(departures.by_time):>4} of {expected[1]}{late}"))
    lines += [Text(f"  {words}", style="dim") for words in departures.newest]
    return Padding(Group(*lines), _INDENT)


def _figures(figures: Figures) -> Text:
    text = Text("size ")
    text.append(f"{count(figures.size):<8}", style="bold cyan")
    text.append("adds ")
    text.append(f"{count(figures.adds):<8}", style="green")
    text.append("drops ")
    text.append(f"{count(figures.drops):<8}", style="yellow")
    text.append("at the webhook ")
    text.append(f"{count(figures.at_webhook):<8}", style="bold cyan")
    return text
