"""Snapshots of the index: a start maps one into memory and reads from the event store only what came after it, instead of reading and
sorting all events (docs/adr/0010-snapshots-of-the-index.md).

One file an account: arrays, one after the other at places that fit them, and at the end what they are, with a sum of each to check it by.
A file that is torn, of another version, ahead of what is committed, or of other people or another event store is not used.
"""

from __future__ import annotations

import mmap
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.chassis import log as logs
from services.evaluator.engine.events import Kept
from services.evaluator.engine.facts import Series
from services.evaluator.engine.keys import Run
from services.evaluator.people import RETIRED, Mpids, Page
from services.evaluator.store import Position

log = logs.get(__name__)

_VERSION = b"index 01"  # another one whenever arrays or keys mean something else
_TAIL_BYTES = 16 + len(_VERSION)  # how long the contents are, their sum, and the version
_ALIGN = 64
_BLOCK = 1 << 20  # keys that are written at a time
_SUFFIX, _WRITING = ".snapshot", ".writing"

T = TypeVar("T", bound=np.generic)
Blocks = Iterable[NDArray[Any]]


class Unusable(Exception):
    """The file can't be used, for this reason."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose index it is: one of another origin has nothing in common with it."""

    account_id: int
    store_id: str  # of the event store
    partitions: int  # how many there are in all
    look_back_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The index of one account as it was when these positions were committed. `people`: by partition, in the order of their numbers."""

    origin: Origin
    positions: Mapping[int, Position]
    people: Mapping[int, Mpids]
    index: Kept

    def check(self, now_ms: int, positions: Mapping[int, Position], pages: Sequence[Page]) -> None:
        """Raises Unusable where it isn't a beginning of what is committed now: these positions, and these people."""
        if self.index.epoch > now_ms - self.index.look_back:
            raise Unusable("it is of the future")
        for partition, at in self.positions.items():
            now = positions.get(partition)
            if now is None:
                raise Unusable(f"partition {partition} is another's")
            if at.sequence > now.sequence or at.round > now.round or at.epoch > now.epoch:
                raise Unusable(f"it is ahead of what is committed of partition {partition}")
        by_partition = {partition: [page for page in pages if page.partition == partition] for partition in self.people}
        for partition, mpids in self.people.items():
            known = np.concatenate([np.empty(0, np.int64), *(page.mpids for page in by_partition[partition])])[: len(mpids)]
            if len(known) < len(mpids) or ((known != mpids) & (known != RETIRED)).any():
                raise Unusable("it is of other people")

    @property
    def sequences(self) -> dict[int, int]:
        """Up to where it holds each partition."""
        return {partition: at.sequence for partition, at in self.positions.items()}


class _Column(msgspec.Struct, array_like=True, frozen=True):
    """Where an array is in the file."""

    type: str
    start: int
    length: int
    crc: int


class _Contents(msgspec.Struct, frozen=True):
    origin: tuple[int, str, int, int]
    positions: dict[int, tuple[int, int, int]]
    epoch_ms: int
    series: list[tuple[int, int, str] | None]
    people: dict[int, _Column]
    by_series: list[tuple[_Column, _Column]]
    by_person: list[tuple[_Column, _Column]]
    waiting: list[tuple[_Column, _Column, _Column]]


class Snapshots:
    """Those of one process, in a folder; None: there are none. Methods do I/O: call them in a thread."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._stopped = False

    @property
    def are_kept(self) -> bool:
        """Whether there are any."""
        return self._folder is not None

    def stop(self) -> None:
        """What is being written is given up."""
        self._stopped = True

    def find(self, origin: Origin, now_ms: int, positions: Mapping[int, Position], pages: Sequence[Page]) -> Snapshot | None:
        """The one of this origin, where it is a beginning of what is committed: these positions, these people in their order. Its arrays
        are mapped into memory."""
        path = self._path(origin.account_id)
        if path is None or not path.exists():
            return None
        began = time.monotonic()
        try:
            snapshot = _read(path)
            if snapshot.origin != origin:
                raise Unusable("it is of another account, event store, look-back or number of partitions")
            snapshot.check(now_ms, positions, pages)
        except (OSError, Unusable) as fault:
            log.warning("snapshot_not_used", account_id=origin.account_id, reason=str(fault))
            return None
        events = sum(len(keys) for keys, _ in snapshot.index.by_person)
        log.info("snapshot_used", account_id=origin.account_id, events=events, seconds=round(time.monotonic() - began, 2))
        return snapshot

    def keep(self, snapshot: Snapshot) -> None:
        """Write it in the place of the one before: whole or not at all, however the process ends. A full disk is a line in the log."""
        path = self._path(snapshot.origin.account_id)
        if path is None:
            return
        began, writing = time.monotonic(), path.with_suffix(_WRITING)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with writing.open("wb") as file:
                whole = _write(_Writer(file.write), snapshot, lambda: self._stopped)
                file.flush()
                os.fsync(file.fileno())
            if not whole:
                writing.unlink()
                return
            size = writing.stat().st_size
            writing.replace(path)
            _sync_folder(path.parent)
        except OSError as fault:
            log.warning("snapshot_not_written", account_id=snapshot.origin.account_id, reason=str(fault))
            return
        log.info("snapshot_written", account_id=snapshot.origin.account_id, bytes=size, seconds=round(time.monotonic() - began, 2))

    def _path(self, account_id: int) -> Path | None:
        return None if self._folder is None else self._folder / f"{account_id}{_SUFFIX}"


class _Writer:
    """Puts arrays into a file."""

    def __init__(self, write: Callable[[bytes | memoryview], object]) -> None:
        self._write = write
        self._at = 0

    def column(self, dtype: str, blocks: Blocks) -> _Column:
        self.raw(bytes(-self._at % _ALIGN))
        start, length, total = self._at, 0, 0
        for block in blocks:
            body = np.ascontiguousarray(block, dtype).view(np.uint8).data
            length += len(block)
            total = zlib.crc32(body, total)
            self.raw(body)
        return _Column(dtype, start, length, total)

    def raw(self, body: bytes | memoryview) -> None:
        self._write(body)
        self._at += len(body)


class _Stopped(Exception):
    pass


def _write(writer: _Writer, snapshot: Snapshot, is_stopped: Callable[[], bool]) -> bool:
    """False where it was stopped."""
    index = snapshot.index

    def parts_of(run: Run, *, by_person: bool) -> Iterator[Run]:
        keys, labels = run
        for start in range(0, len(keys), _BLOCK):
            if is_stopped():
                raise _Stopped
            yield index.block_of(keys[start : start + _BLOCK], labels[start : start + _BLOCK], by_person=by_person)

    def columns_of(run: Run, *, by_person: bool) -> tuple[_Column, _Column]:
        keys = writer.column("<i8", (keys for keys, _ in parts_of(run, by_person=by_person)))
        return keys, writer.column("<i4", (labels for _, labels in parts_of(run, by_person=by_person)))

    try:
        contents = _Contents(
            origin=astuple(snapshot.origin),
            positions={partition: (at.sequence, at.round, at.epoch) for partition, at in snapshot.positions.items()},
            epoch_ms=index.epoch,
            series=[None if one is None else (one.input_id, one.type, one.name) for one in index.series],
            people={partition: writer.column("<i8", [mpids]) for partition, mpids in snapshot.people.items()},
            by_series=[columns_of(run, by_person=False) for run in index.by_series],
            by_person=[columns_of(run, by_person=True) for run in index.by_person],
            waiting=[
                (writer.column("<i4", [codes]), writer.column("<i8", [people]), writer.column("<i8", [times]))
                for codes, people, times in index.waits()
            ],
        )
    except _Stopped:
        return False
    body = msgspec.msgpack.encode(contents)
    writer.raw(body + len(body).to_bytes(8, "little") + zlib.crc32(body).to_bytes(8, "little") + _VERSION)
    return True


def _read(path: Path) -> Snapshot:
    """Raises Unusable."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _TAIL_BYTES:
            raise Unusable("it is torn")
        area = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped = memoryview(area)
    tail = bytes(mapped[size - _TAIL_BYTES :])
    length = int.from_bytes(tail[:8], "little")
    if tail[16:] != _VERSION:
        raise Unusable("it is torn, or of another version")
    if length > size - _TAIL_BYTES:
        raise Unusable("it is torn")
    body = mapped[size - _TAIL_BYTES - length : size - _TAIL_BYTES]
    if zlib.crc32(body) != int.from_bytes(tail[8:16], "little"):
        raise Unusable("it is torn")
    contents = msgspec.msgpack.decode(body, type=_Contents)

    origin = Origin(*contents.origin)

    def array(column: _Column, dtype: type[T]) -> NDArray[T]:
        found = np.frombuffer(mapped, column.type, column.length, column.start)
        if zlib.crc32(found.data) != column.crc:
            raise Unusable("its sums are wrong")
        return found.astype(dtype, copy=False)

    snapshot = Snapshot(
        origin=origin,
        positions={partition: Position(*at) for partition, at in contents.positions.items()},
        people={partition: array(column, np.int64) for partition, column in contents.people.items()},
        index=Kept(
            look_back=origin.look_back_ms,
            epoch=contents.epoch_ms,
            series=[None if one is None else Series(*one) for one in contents.series],
            by_series=[(array(keys, np.int64), array(labels, np.int32)) for keys, labels in contents.by_series],
            by_person=[(array(keys, np.int64), array(labels, np.int32)) for keys, labels in contents.by_person],
            waiting=[(array(c, np.int32), array(p, np.int64), array(t, np.int64)) for c, p, t in contents.waiting],
        ),
    )
    area.madvise(mmap.MADV_DONTNEED)  # what was only summed up need not stay in memory: half of it no start looks at
    return snapshot


def _sync_folder(folder: Path) -> None:
    """A file's new name is kept from here on."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
