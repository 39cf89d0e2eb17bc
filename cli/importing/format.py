"""The formats that an import can read, and how a file's is told."""

from __future__ import annotations

import enum
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from cli.faults import bad_input


class Format(enum.StrEnum):
    """What an import can read."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"


_BY_SUFFIX = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".txt": Format.CSV,
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".json": Format.NDJSON,
    ".parquet": Format.PARQUET,
}


def format_of(name: str, chosen: Format | None) -> Format:
    """The format chosen or, else, that of the file's ending."""
    found = chosen or _BY_SUFFIX.get(PurePosixPath(urlsplit(name).path if "://" in name else name).suffix.lower())
    if found is None:
        raise bad_input(f"The ending of {name} tells no format.", hint=f"Name it with --format: {', '.join(Format)}.")
    return found
