"""Sends pieces on a stream, some at once; after a cut those without an answer are sent again, and count once."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Iterator
from itertools import chain

import grpc
import pyarrow as pa
from muster.ingest.v1 import ingest_service_pb2 as pb

from cli.client import Muster
from cli.importing.piece import Piece

# The service works on three at once.
_WINDOW = 4
# A stream ends before its token does, and before the service ends it.
_STREAM_SECONDS = 600.0
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_WAIT_MOST_SECONDS = 3.0

Answered = tuple[Piece, pb.IngestTableResponse]


class Sending:
    """To one input. `patience_seconds` is how long it tries while the service is away."""

    def __init__(self, muster: Muster, input_id: int, id: str, *, validate_only: bool, patience_seconds: float) -> None:
        self._muster = muster
        self._input_id = input_id
        self._id = id
        self._validate_only = validate_only
        self._patience_seconds = patience_seconds

    def answers(self, pieces: Iterator[Piece]) -> Iterator[Answered]:
        """Each piece with its answer, in their order. Raises CliFault where the service refuses, or stays away."""
        waiting: deque[Piece] = deque()
        away_since: float | None = None
        tries = 0
        while (first := next(pieces, None)) is not None or waiting:
            rest = pieces if first is None else chain([first], pieces)
            pieces = rest
            try:
                for answered in self._stream(waiting, rest):
                    away_since, tries = None, 0
                    yield answered
            except grpc.RpcError as error:
                away_since = away_since or time.monotonic()
                if error.code() not in _AWAY or time.monotonic() - away_since > self._patience_seconds:
                    raise self._muster.fault(error, "ingest") from None
                tries += 1
                time.sleep(min(_WAIT_MOST_SECONDS, 0.1 * 2**tries))

    def _stream(self, waiting: deque[Piece], pieces: Iterator[Piece]) -> Iterator[Answered]:
        """The answers of one stream, which ends after a while. `waiting` are pieces without an answer, sent first."""
        requests: queue.SimpleQueue[pb.IngestTableRequest | None] = queue.SimpleQueue()
        answers = iter(self._muster.ingest.IngestTable(iter(requests.get, None), metadata=self._muster.metadata()))
        until = time.monotonic() + _STREAM_SECONDS
        for unanswered in waiting:
            if unanswered.table is not None:
                requests.put(self._request(unanswered, unanswered.table))
        try:
            while True:
                while len(waiting) < _WINDOW and time.monotonic() < until and (piece := next(pieces, None)) is not None:
                    waiting.append(piece)
                    if piece.table is not None:
                        requests.put(self._request(piece, piece.table))
                if not waiting:
                    requests.put(None)
                    # The end of the stream: the service has no more to say.
                    next(answers, None)
                    return
                empty = waiting[0].table is None
                answer = pb.IngestTableResponse() if empty else next(answers)
                yield waiting.popleft(), answer
        finally:
            requests.put(None)

    def _request(self, piece: Piece, table: pa.Table) -> pb.IngestTableRequest:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        return pb.IngestTableRequest(
            input_id=self._input_id,
            source_request_id=f"{self._id}-{piece.start.offset}",
            table=sink.getvalue().to_pybytes(),
            validate_only=self._validate_only,
        )
