"""The lines of a file of text, with their places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from cli.faults import bad_input
from cli.importing.piece import PIECE_BYTES, Place

_BOM = b"\xef\xbb\xbf"


class Lines:
    """Reads lines from a place on. `offset` and `number` are those of the end of the last line read."""

    def __init__(self, file: IO[bytes], start: Place) -> None:
        self._file = file
        self.offset = start.offset
        self.number = start.line
        # Lines that are no UTF-8.
        self.broken: set[int] = set()
        file.seek(start.offset)

    @property
    def place(self) -> Place:
        """Where the next line begins."""
        return Place(self.offset, self.number)

    def raw(self) -> Iterator[bytes]:
        """The lines as they are. Raises CliFault for one that is too long to be one."""
        while line := self._file.readline(PIECE_BYTES):
            if len(line) == PIECE_BYTES and not line.endswith(b"\n"):
                raise bad_input(f"Line {self.number + 1} is longer than {PIECE_BYTES} bytes: is this a file of text?")
            self.offset += len(line)
            self.number += 1
            yield line.removeprefix(_BOM) if self.number == 1 else line

    def texts(self) -> Iterator[str]:
        """The lines as text; of a broken one, what can be read of it."""
        for line in self.raw():
            try:
                yield line.decode()
            except UnicodeDecodeError:
                self.broken.add(self.number)
                yield line.decode(errors="replace")
