"""How far an import is: written after each piece, so that it goes on there when it is called again."""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import Struct, convert, field, to_builtins
from msgspec import ValidationError as NotFitting

from cli.faults import bad_input
from cli.importing.piece import Place


class Progress(Struct):
    """What an import has done. `run` tells one import of a file from another that was asked for on purpose."""

    file: str
    service: str
    run: int = 0
    offset: int = 0
    line: int = 0
    rows: int = 0
    accepted: int = 0
    rejects_bytes: int = 0
    finished: bool = False
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where the file goes on."""
        return Place(self.offset, self.line)


class State:
    """The file of an import's progress."""

    def __init__(self, folder: Path, id: str) -> None:
        self._path = folder / f"{id}.json"

    def load(self) -> Progress | None:
        """The progress of an earlier call; None where there was none."""
        try:
            return convert(json.loads(self._path.read_text()), Progress)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, NotFitting) as fault:
            raise bad_input(f"{self._path} can't be read: {fault}", hint="Remove it: the import then begins at the start.") from None

    def save(self, progress: Progress) -> None:
        """Written whole or not at all."""
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(to_builtins(progress)))
            new.replace(self._path)
        except OSError as fault:
            raise bad_input(f"The progress can't be written: {fault}", hint="MUSTER_DATA_DIR names the folder.") from None
