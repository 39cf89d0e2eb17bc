"""Where the file is, on this machine or in S3, and what tells it from every other file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from hashlib import blake2b
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs

from cli.faults import bad_input

_SAMPLE_BYTES = 64 * 1024
_BUFFER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """One file. `path` is its path within `filesystem`."""

    name: str
    filesystem: Any
    path: str
    size: int
    # The same as long as the file is: of its size, its time of change, its first and its last bytes.
    identity: str

    def open(self) -> Any:
        """The file for readers of Arrow."""
        return self.filesystem.open_input_file(self.path)

    def open_buffered(self) -> IO[bytes]:
        """The file as Python has files."""
        return io.BufferedReader(self.open(), _BUFFER_BYTES)


def find(name: str) -> Source:
    """The file of a path or of an address `s3://bucket/key`. Raises CliFault where it is not there or can't be read."""
    try:
        filesystem, path = fs.FileSystem.from_uri(name) if "://" in name else (fs.LocalFileSystem(), name)
        info = filesystem.get_file_info(path)
        if info.type != fs.FileType.File:
            raise bad_input(f"There is no file {name}.")
        with filesystem.open_input_file(path) as file:
            head = file.read_at(min(info.size, _SAMPLE_BYTES), 0)
            tail = file.read_at(min(info.size, _SAMPLE_BYTES), max(0, info.size - _SAMPLE_BYTES))
    except (OSError, pa.ArrowException) as fault:
        raise bad_input(f"{name} can't be read: {fault}") from None
    told = f"{info.size} {info.mtime_ns} ".encode()
    return Source(name, filesystem, path, info.size, blake2b(told + head + tail, digest_size=16).hexdigest())
