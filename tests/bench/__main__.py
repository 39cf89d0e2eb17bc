"""`make bench`: measures every part, prints a table, writes build/bench.json. `--only NAME` runs one part.

What is compared is measured in the same run; a figure whose bound does not hold makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.figure import Figure
from tests.bench.process import measure

PARTS = (
    "engine",
    "growth",
    "estimate",
    "limits",
    "memberships",
    "service",
    "ingest",
    "arrow",
    "importing",
    "pipeline",
    "restart",
    "listing",
    "catalogue",
)
_FILE = Path("build/bench.json")


def shown(figures: list[Figure]) -> Table:
    """The table that a person reads."""
    table = Table(title="make bench", title_justify="left")
    for name in ("figure", "value", "unit", "beside", "ratio", "bound", ""):
        table.add_column(name, justify="right" if name in ("value", "ratio", "beside") else "left")
    for figure in figures:
        beside = "" if figure.beside is None else f"{figure.beside:,.6g}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:,.1f}x"
        verdict = "[green]ok[/]" if figure.ok else "[red]missed[/]"
        table.add_row(figure.name, f"{figure.value:,.6g}", figure.unit, beside, ratio, figure.bound, verdict if figure.bound else "")
    return table


def main() -> int:
    """Exit code 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="run one part")
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the full size, for a quick look; bounds are for 1")
    options = parser.parse_args()
    figures: list[Figure] = []
    for part in [options.only] if options.only else PARTS:
        figures += measure(part, options.scale)
    _FILE.parent.mkdir(exist_ok=True)
    _FILE.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")
    Console(width=140).print(shown(figures))
    print(f"written to {_FILE}")
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
