"""Writes docs/measured.md and docs/measured.svg from build/bench.json: `python -m tests.bench.report`."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path

from tests.bench.figure import Figure

ROOT = Path(__file__).parents[2]
HEAD = """# Measured

`make bench` measures all of this on one machine; this page was written by it (`.venv/bin/python -m tests.bench.report`). The machine has
two cores that are shared with others, who make everything last longer. What computes (the engine, SQL, estimates, starts, and whole
rounds where they are compared) is therefore told in time of the processor, of all threads together; messages and the whole pipeline by the
clock. What counts are the ratios, whose two sides are measured in one run. *Beside* is the other side of a comparison, *ratio* how many
times the value it is. Wherever two sides are compared, their results are compared too, and the table says how many differ.

![Events a second: the engine, and the same changes of memberships by other means](measured.svg)

The world of the engine: 1,000,000 people, 20,000,000 events of 200 names over 30 days, 1,000 audiences of three counts each (within an
hour to 30 days), rounds of 10,000 events; one core. A round changes about 124,000 memberships. *The plain key index* is the sorted-key
index that the engine grew from, without store, commit and messages. SQL does the same rounds incrementally (insert, find whose count may
have changed, count them again, find the audiences that change), or counts everybody anew.

Estimates: drafts of one to five criteria on the same people and events, popular events more often, with the size of every node and the
overlap with an audience. *Plain* ones read what the index has. *Filtered* ones read values of events: the first time of a filter that
nobody asked for before, among them values that the event store has to be asked for; again with another number and window.
"""
BARS = (
    ("the engine", "engine: events in rounds of 10,000", "value"),
    ("a whole round: stored, committed, published", "service: whole rounds, published", "value"),
    ("the plain key index", "engine: beside the plain key index", "beside"),
    ("ClickHouse, incremental", "engine: beside the store's SQL, incremental", "beside"),
    ("DuckDB, incremental", "engine: beside DuckDB, incremental", "beside"),
    ("DuckDB, counting all anew", "engine: beside DuckDB, counting all anew", "beside"),
    ("ClickHouse, counting all anew", "engine: beside the store's SQL, counting all anew", "beside"),
)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def table(figures: list[Figure]) -> str:
    """The figures as Markdown."""
    lines = ["| | value | | beside | ratio | bound | |", "|---|--:|---|--:|--:|---|---|"]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{figure.ratio:,.1f}x"
        held = ("yes" if figure.ok else "**no**") if figure.bound else ""
        lines.append(
            f"| {figure.name} | {_number(figure.value)} | {figure.unit} | {_number(figure.beside)} | {ratio} | {figure.bound} | {held} |"
        )
    return "\n".join(lines)


def plot(bars: list[tuple[str, float]]) -> str:
    """Horizontal bars on a logarithmic scale, as SVG."""
    left, width, step = 330, 420, 34
    most = max(value for _, value in bars)
    least = min(value for _, value in bars) / 3
    height = step * len(bars) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 110} {height}" font-family="sans-serif" font-size="14">',
        f'<rect width="100%" height="{height}" fill="#fff"/>',
        '<text x="16" y="24" fill="#111" font-weight="bold">Events a second on one core, logarithmic scale</text>',
    ]
    for place, (name, value) in enumerate(bars):
        top = 42 + place * step
        length = width * math.log(value / least) / math.log(most / least)
        colour = "#2563eb" if place < 2 else "#94a3b8"
        parts.append(f'<text x="{left - 12}" y="{top + 16}" text-anchor="end" fill="#111">{escape(name)}</text>')
        parts.append(f'<rect x="{left}" y="{top}" width="{length:.0f}" height="22" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="{left + length + 8:.0f}" y="{top + 16}" fill="#111">{value:,.0f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Read, write."""
    figures = [Figure(**one) for one in json.loads((ROOT / "build/bench.json").read_text())]
    by_name = {figure.name: figure for figure in figures}
    found = [(label, getattr(by_name[name], side)) for label, name, side in BARS if name in by_name]
    (ROOT / "docs/measured.md").write_text(f"{HEAD}\n{table(figures)}\n")
    (ROOT / "docs/measured.svg").write_text(plot(found))
    print("written to docs/measured.md and docs/measured.svg")


if __name__ == "__main__":
    main()
