"""The file of refused rows: each as it stood, with its line and the reason, so that it can be mended and imported by itself."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cli.faults import bad_input
from cli.importing.piece import Reader, Rejected

LINE, REASON, TEXT = "rejected_line", "rejected_reason", "rejected_text"


class Rejects:
    """Made with the first row that is refused, readable by its owner alone: rows hold personal data."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self.path = path
        self._columns = reader.columns
        self._delimiter = reader.delimiter
        self._is_csv = bool(reader.delimiter)

    def cut(self, size: int) -> None:
        """Take away what was written beyond this size, by a run that was killed before it remembered it; 0: begin anew."""
        if self.path.exists():
            if size:
                os.truncate(self.path, size)
            else:
                self.path.unlink()

    def write(self, rejected: Iterable[Rejected]) -> int:
        """Add rows; the size of the file then."""
        text = "".join(self._csv(one) if self._is_csv else self._json(one) for one in rejected)
        if not text:
            return self.path.stat().st_size if self.path.exists() else 0
        try:
            self.path.touch(0o600)
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                if self._is_csv and file.tell() == 0:
                    file.write(self._csv_line([*self._columns, LINE, REASON]))
                file.write(text)
        except OSError as fault:
            raise bad_input(f"The file of refused rows can't be written: {fault}", hint="Name another one with --rejects.") from None
        return self.path.stat().st_size

    def _csv(self, rejected: Rejected) -> str:
        values = [*rejected.row, *[""] * len(self._columns)][: max(len(self._columns), len(rejected.row))]
        return self._csv_line([*values, str(rejected.line), rejected.reason])

    def _csv_line(self, values: Sequence[str]) -> str:
        line = io.StringIO()
        csv.writer(line, delimiter=self._delimiter, lineterminator="\n").writerow(values)
        return line.getvalue()

    def _json(self, rejected: Rejected) -> str:
        row = rejected.row
        if isinstance(row, bytes):
            text = row.decode(errors="replace").strip()
            try:
                readable = isinstance(json.loads(text), dict)
            except (ValueError, RecursionError):
                readable = False
            # As it stands, so that each number keeps its digits.
            inside = f",{text[1:]}" if readable and text[1:].strip() != "}" else "}" if readable else f",{_member(TEXT, text)}}}"
        else:
            inside = f",{json.dumps(row, default=str, ensure_ascii=False)[1:]}" if row else "}"
        return f"{{{_member(LINE, rejected.line)},{_member(REASON, rejected.reason)}{inside}\n"


def _member(name: str, value: Any) -> str:
    return f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=False)}"
