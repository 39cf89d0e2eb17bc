"""From a table of Arrow to a Table of ours: the checks of the Events API, by column.

A table with bad rows is read once more without them, so what is made of the good rows never has to think of the bad.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.ingest.domain import cells, identities
from services.ingest.domain.compression import is_compressed
from services.ingest.domain.limits import (
    ATTRIBUTES_MAX,
    BATCH_MAX_BYTES,
    ID_MAX,
    NAME_MAX,
    TABLE_MAX_BYTES,
    TABLE_MAX_ROWS,
    TIME_MAX_AHEAD_MS,
    TIME_MIN_MS,
    VALUE_MAX,
)
from services.ingest.domain.model import NAMED_EVENTS, Context, EventType, Identity, IdentityType, Reason
from services.ingest.domain.table import Array, Cells, Ints, Kind, Names, People, RowFault, Table, TableFaults

ATTRIBUTES, USER_ATTRIBUTES = "attributes.", "user_attributes."
# The strongest first.
_IDENTITIES = {
    IdentityType(identity.type).name.lower(): IdentityType(identity.type)
    for identity in identities.by_strength(Identity(type_, "") for type_ in IdentityType)
}
_EVENT_TYPES = {
    **{type_.name.lower(): type_ for type_ in EventType},
    # As the Events API calls them.
    "custom_event": EventType.CUSTOM,
    "commerce_event": EventType.COMMERCE,
    "crash_report": EventType.CRASH,
    "first_run": EventType.INSTALL,
    "push_message": EventType.PUSH,
    "application_state_transition": EventType.APPLICATION_STATE,
}
_OWN = ("mpid", "event_type", "event_name", "time", "source_message_id", "transaction_id", "total_amount", "currency_code")
# Metadata of a field that says what its texts are.
_KIND = b"muster.kind"
_KINDS = {b"number": Kind.NUMBER, b"json": Kind.JSON}
_REMOVED = "deleted_user_attributes"
# What `identities.normal` leaves as it is: ASCII without blanks and with more than zeros and dashes, of an e-mail address without capitals.
_NORMAL = "^[!-~]*[!-,./1-~][!-~]*$"
_NORMAL_EMAIL = r"^[!-@\[-~]*[!-,./1-@\[-~][!-@\[-~]*$"
_TIMES = "must be a timestamp, a date, whole milliseconds since 1970, or text in ISO 8601"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TableReading:
    """What came of a request: its good rows, None if there are none, and the faults of the others."""

    table: Table | None
    faults: list[RowFault]


def read_table(body: bytes, *, request_id: str, platform: str, now_ms: int) -> TableReading:
    """The rows of an Arrow IPC stream. `platform` is the input's."""
    faults = TableFaults()
    sent = _unpacked(body, faults)
    if sent is None or faults or not sent.num_rows:
        return TableReading(None, faults.found)
    rows: Ints = np.arange(sent.num_rows)
    reader = _Reader(sent, now_ms, faults)
    if not reader.read():
        return TableReading(None, faults.found)
    if faults:
        good = np.ones(sent.num_rows, np.bool_)
        good[faults.rows] = False
        if not good.any():
            return TableReading(None, faults.found)
        rows = np.flatnonzero(good)
        reader = _Reader(sent.take(pa.array(rows)), now_ms, TableFaults())
        reader.read()
    return TableReading(reader.table(request_id, rows, sent.num_rows, platform), faults.found)


def _unpacked(body: bytes, faults: TableFaults) -> pa.Table | None:
    """The table, each column in one piece and no column dictionary encoded; None where the request is none that is taken."""
    try:
        if is_compressed(body):
            faults.add_whole("table", "is compressed: send it as it is, gRPC can compress it", Reason.MALFORMED)
            return None
        with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
            sent = stream.read_all()
        sent.validate(full=True)
        names = sent.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Arrow's words name the column and the row, but none of what is in there.
        faults.add_whole("table", f"is not a stream of Arrow IPC: {error}", Reason.MALFORMED)
        return None
    if sent.num_rows > TABLE_MAX_ROWS:
        faults.add_whole("table", f"has {sent.num_rows} rows; at most {TABLE_MAX_ROWS} are taken", Reason.TOO_MANY)
        return None
    _check_names(names, faults)
    columns = []
    size = 0
    for name, chunked in zip(names, sent.columns, strict=True):
        column = chunked.unify_dictionaries().combine_chunks() if pa.types.is_dictionary(chunked.type) else chunked.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        size += cells.unpacked_bytes(column)
        if size > TABLE_MAX_BYTES:
            faults.add_whole("table", f"is larger than {TABLE_MAX_BYTES} bytes, unpacked: send fewer rows at once", Reason.TOO_LARGE)
            return None
        columns.append(cells.plain(column))
        if name and _nothing_said_by_empty(name) and cells.is_text(columns[-1]):
            columns[-1] = _without_empty(columns[-1])
    fields = [pa.field(field.name, column.type, metadata=field.metadata) for field, column in zip(sent.schema, columns, strict=True)]
    return pa.table(columns, schema=pa.schema(fields))


def _check_names(names: list[str], faults: TableFaults) -> None:
    seen: set[str] = set()
    for name in names:
        group, dot, attribute = name.partition(".")
        cut = f"{group}.{attribute[:NAME_MAX]}" if dot else name
        where = f"columns.{name[:NAME_MAX]}"
        if cut in seen:
            faults.add_whole(where, "is there twice", Reason.MALFORMED)
        seen.add(cut)
        if f"{group}." in (ATTRIBUTES, USER_ATTRIBUTES) and dot:
            if not attribute:
                faults.add_whole(where, "names no attribute", Reason.MISSING)
            elif "\0" in attribute:
                faults.add_whole(where.replace("\0", "?"), "has a name with a NUL character", Reason.BAD_CHARACTER)
        elif name not in _OWN and name not in _IDENTITIES and name != _REMOVED:
            known = f"{', '.join(_OWN)}, attributes.<name>, user_attributes.<name>, {_REMOVED}"
            faults.add_whole(where, f"is no column: there are {known}, and the types of identities, as customer_id", Reason.MALFORMED)


def _nothing_said_by_empty(name: str) -> bool:
    return not name.startswith((ATTRIBUTES, USER_ATTRIBUTES))


def _without_empty(column: Array) -> Array:
    return pc.if_else(pc.equal(pc.binary_length(column), 0), pa.scalar(None, column.type), column)


class _Reader:
    """Reads one table; what is at fault is added to the faults, and then what is read is of no use."""

    def __init__(self, sent: pa.Table, now_ms: int, faults: TableFaults) -> None:
        self._sent = sent
        self._columns = {name: _only_piece(column) for name, column in zip(sent.column_names, sent.columns, strict=True)}
        self._now_ms = now_ms
        self._faults = faults
        self._attributes: dict[str, Cells] = {}
        self._set: dict[str, Cells] = {}

    def read(self) -> bool:
        """Read every column. False: the table as a whole is at fault."""
        self._attributes = self._group(ATTRIBUTES)
        self._set = self._group(USER_ATTRIBUTES)
        self._mpids = self._mpid()
        self._named = self._identities()
        self._kinds, self._kind_of = self._events()
        self._times_ms = self._times()
        self._message_ids = self._text("source_message_id", ID_MAX)
        self._removed = self._removals()
        if not self._faults.whole:
            self._details = self._event_details()
            self._check_rows()
        return not self._faults.whole

    def table(self, request_id: str, rows: Ints, size: int, platform: str) -> Table:
        """What was read, if no fault was found."""
        people, person_of = self._people()
        return Table(
            request_id=request_id,
            rows=rows,
            size=size,
            people=people,
            person_of=person_of,
            times_ms=self._times_ms,
            kinds=self._kinds,
            kind_of=self._kind_of,
            message_ids=self._message_ids,
            details=self._details,
            set_attributes=self._set,
            removed_attributes=self._removed,
            context=Context(platform=platform),
        )

    # --- who

    def _mpid(self) -> Ints:
        column = self._columns.get("mpid")
        if column is None:
            return np.zeros(self._sent.num_rows, np.int64)
        wanted = "must be a whole number of 64 bits"
        numbers = cells.whole_numbers(column, "mpid", wanted, self._faults)
        if numbers is None:
            self._wrong_type("mpid", wanted)
            return np.zeros(self._sent.num_rows, np.int64)
        return np.asarray(pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False))

    def _identities(self) -> list[tuple[Names, Ints]]:
        """Of each column, the strongest first: its identities, and of each row a place in them; -1: none."""
        found = []
        for name, type_ in _IDENTITIES.items():
            column = self._columns.get(name)
            if column is None:
                continue
            if cells.is_text(column):
                values = cells.texts(column, name, VALUE_MAX, self._faults)
            elif pa.types.is_integer(column.type):
                values = column.cast(pa.string())
            else:
                self._wrong_type(name, "must be text or a whole number")
                continue
            found.append(_normal(type_, values))
        somebody = self._mpids != 0
        for _, places in found:
            somebody |= places >= 0
        nobody = "names nobody: give an mpid or an identity"
        self._faults.add(np.flatnonzero(~somebody).tolist(), "", nobody, Reason.NO_IDENTITY)
        return found

    def _people(self) -> tuple[People, Ints]:
        person_of = _numbered(self._mpids)
        begin = 0
        columns: list[Ints] = []
        for names, places in self._named:
            columns.append(np.where(places < 0, -1, places + begin))
            begin += len(names.values)
            # Both are below the number of rows, so that their product fits.
            person_of = _numbered(person_of * (len(names.values) + 1) + places + 1)
        # The first row of each person: of the same assignments, the last one stays.
        first = np.empty(int(person_of.max()) + 1, np.int64)
        first[person_of[::-1]] = np.arange(len(person_of))[::-1]
        named = np.stack([column[first] for column in columns], axis=1) if columns else np.empty((len(first), 0), np.int64)
        return People(self._mpids[first], [names for names, _ in self._named], named), person_of

    # --- what

    def _events(self) -> tuple[list[tuple[int, str]], Ints]:
        """Types and names, and of each row a place in there; -1: the row is no event."""
        count = self._sent.num_rows
        types, type_of = self._type_codes()
        names, name_of = self._name_codes()
        type_of = np.where((type_of < 0) & (name_of >= 0), len(types), type_of)
        types = [*types, EventType.CUSTOM]
        # The last stands for a row without an event.
        needs_name = np.array([*(type_ in NAMED_EVENTS for type_ in types), False], np.bool_)
        self._faults.add(np.flatnonzero(needs_name[type_of] & (name_of < 0)).tolist(), "event_name", "is missing", Reason.MISSING)
        codes = _numbered(np.where(type_of < 0, -1, type_of * (len(names) + 1) + name_of + 1))
        kinds: list[tuple[int, str]] = []
        place_of = np.full(int(codes.max()) + 1, -1, np.int64)
        first = np.empty(len(place_of), np.int64)
        first[codes[::-1]] = np.arange(count)[::-1]
        for code, row in enumerate(first.tolist()):
            if type_of[row] >= 0:
                place_of[code] = len(kinds)
                kinds.append((int(types[type_of[row]]), names[name_of[row]] if name_of[row] >= 0 else ""))
        return kinds, place_of[codes]

    def _type_codes(self) -> tuple[list[EventType], Ints]:
        column = self._text("event_type", ID_MAX)
        if column is None:
            return [], np.full(self._sent.num_rows, -1, np.int64)
        coded = column.dictionary_encode()
        found = [_EVENT_TYPES.get(value.lower()) for value in coded.dictionary.to_pylist()]
        codes = cells.codes(coded.indices)
        unknown = np.array([*(type_ is None for type_ in found), False], np.bool_)[codes]
        said = "is not a type of event: send custom, screen_view, commerce, ..."
        self._faults.add(np.flatnonzero(unknown).tolist(), "event_type", said, Reason.UNKNOWN_EVENT_TYPE)
        return [type_ or EventType.CUSTOM for type_ in found], codes

    def _name_codes(self) -> tuple[list[str], Ints]:
        column = self._text("event_name", VALUE_MAX)
        if column is None:
            return [], np.full(self._sent.num_rows, -1, np.int64)
        coded = column.dictionary_encode()
        return [name[:NAME_MAX] for name in coded.dictionary.to_pylist()], cells.codes(coded.indices)

    def _times(self) -> Ints:
        column = self._columns.get("time")
        if column is None:
            return np.full(self._sent.num_rows, self._now_ms, np.int64)
        instants = self._instants(column)
        if instants is None:
            self._wrong_type("time", _TIMES)
            return np.full(self._sent.num_rows, self._now_ms, np.int64)
        out = pc.or_(pc.less(instants, TIME_MIN_MS), pc.greater(instants, self._now_ms + TIME_MAX_AHEAD_MS))
        wanted = "must lie between 2000-01-01 and ten years from now"
        self._faults.add(cells.rows_where(out), "time", wanted, Reason.TIME_OUT_OF_RANGE)
        return np.asarray(pc.fill_null(instants, self._now_ms).to_numpy(zero_copy_only=False))

    def _instants(self, column: Array) -> Array | None:
        """Milliseconds since 1970; None: these are no instants."""
        type_ = column.type
        if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
            return column.cast(pa.timestamp("ms", getattr(type_, "tz", None)), safe=False).cast(pa.int64())
        if pa.types.is_integer(type_):
            return cells.whole_numbers(column, "time", _TIMES, self._faults)
        if not cells.is_text(column):
            return None
        readings: tuple[Callable[[], Array], ...] = (
            lambda: column.cast(pa.timestamp("us")),
            lambda: column.cast(pa.timestamp("us", "UTC")),
            lambda: column.cast(pa.int64()).cast(pa.timestamp("ms")),
        )
        for read in readings:
            try:
                return read().cast(pa.timestamp("ms", None), safe=False).cast(pa.int64())
            except pa.ArrowException:
                continue
        # Written in several ways, or some in none.
        return cells.each(column, _instant_ms, pa.int64(), "time", _TIMES, Reason.WRONG_TYPE, self._faults)

    def _event_details(self) -> Array | None:
        parts = []
        if self._attributes:
            entries = [
                pc.binary_join_element_wise(cells.json_key(name), cells.json_of(values), "") for name, values in self._attributes.items()
            ]
            joined = _joined(entries)
            some = pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined)
            parts.append(pc.binary_join_element_wise('"attributes":{', some, "}", ""))
        for name, most in (("transaction_id", VALUE_MAX), ("total_amount", 0), ("currency_code", ID_MAX)):
            values = self._text(name, most) if most else self._amounts(name)
            if values is not None:
                written = cells.json_of(Cells(Kind.TEXT if most else Kind.NUMBER, values))
                parts.append(pc.binary_join_element_wise(cells.json_key(name), written, ""))
        if not parts:
            return None
        joined = _joined(parts)
        return pc.if_else(pc.equal(joined, ""), "", pc.binary_join_element_wise("{", joined, "}", ""))

    def _amounts(self, name: str) -> Array | None:
        column = self._columns.get(name)
        if column is None:
            return None
        if not cells.is_text(column):
            numbers = cells.decimal_texts(column, name, self._faults)
            if numbers is None:
                self._wrong_type(name, "must be a number or decimal text")
            return numbers
        return cells.number_texts(column, name, self._faults)

    def _group(self, prefix: str) -> dict[str, Cells]:
        found = {}
        for name, column in self._columns.items():
            if name.startswith(prefix) and (values := self._attribute(name, column)) is not None:
                found[name.removeprefix(prefix)[:NAME_MAX]] = values
        return found

    def _attribute(self, name: str, column: Array) -> Cells | None:
        said = (self._sent.schema.field(name).metadata or {}).get(_KIND)
        if said is not None and said not in _KINDS:
            self._faults.add_whole(f"columns.{name}", "has a muster.kind that is none: there are number and json", Reason.MALFORMED)
            return None
        return cells.attribute(column, name, None if said is None else _KINDS[said], self._faults)

    def _removals(self) -> Array | None:
        column = self._columns.get(_REMOVED)
        if column is None:
            return None
        values = self._attribute(_REMOVED, column)
        if values is None or values.kind is not Kind.LIST:
            self._wrong_type(_REMOVED, "must be a list of texts")
            return None
        return values.values

    # --- the rows

    def _check_rows(self) -> None:
        for prefix, group in ((ATTRIBUTES, self._attributes), (USER_ATTRIBUTES, self._set)):
            if len(group) > ATTRIBUTES_MAX:
                said = np.sum([cells.flags(pc.is_valid(one.values)) for one in group.values()], axis=0)
                too_many = np.flatnonzero(said > ATTRIBUTES_MAX).tolist()
                words = [f"has {said[row]} attributes; at most {ATTRIBUTES_MAX} are taken" for row in too_many]
                self._faults.add(too_many, prefix[:-1], words, Reason.TOO_MANY)
        # Most tables are small enough, so that none of their rows can be too large.
        if self._sent.nbytes > BATCH_MAX_BYTES or (self._details is not None and self._details.nbytes > BATCH_MAX_BYTES):
            size: Ints = np.zeros(self._sent.num_rows, np.int64) if self._details is None else _lengths(self._details)
            for name, column in self._columns.items():
                # Attributes of events are in the details already.
                if cells.is_text(column) and not name.startswith(ATTRIBUTES):
                    size = size + _lengths(column)
            lists = [self._removed, *(one.values for one in self._set.values() if one.kind is Kind.LIST)]
            for column in lists:
                if column is not None:
                    size = size + _sums(_lengths(column.flatten()), column)
            too_large = np.flatnonzero(size > BATCH_MAX_BYTES).tolist()
            words = [f"is {size[row]} bytes long; at most {BATCH_MAX_BYTES} are taken" for row in too_large]
            self._faults.add(too_large, "", words, Reason.TOO_LARGE)
        if self._details is not None and (no_event := self._kind_of < 0).any():
            lost = no_event & (_lengths(self._details) > 0)
            said = "is missing: only an event has attributes, an amount or a transaction"
            self._faults.add(np.flatnonzero(lost).tolist(), "event_name", said, Reason.MISSING)

    def _text(self, name: str, most: int) -> Array | None:
        column = self._columns.get(name)
        if column is None:
            return None
        if cells.is_text(column):
            return cells.texts(column, name, most, self._faults)
        if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
            return column.cast(pa.string())
        self._wrong_type(name, "must be text")
        return None

    def _wrong_type(self, name: str, wanted: str) -> None:
        self._faults.add_whole(f"columns.{name}", f"{wanted}, not {self._columns[name].type}", Reason.WRONG_TYPE)


def _normal(type_: IdentityType, values: Array) -> tuple[Names, Ints]:
    """The identities of a column, and of each row a place in them; -1: none."""
    coded = values.dictionary_encode()
    found, places = coded.dictionary, cells.codes(coded.indices)
    if pc.all(pc.match_substring_regex(found, _NORMAL_EMAIL if type_ is IdentityType.EMAIL else _NORMAL)).as_py() is False:
        named = [identities.normal(type_, value) for value in found.to_pylist()]
        coded = pa.array([None if one is None else one.value for one in named], pa.string()).dictionary_encode()
        # The last stands for a row without a value.
        found, places = coded.dictionary, np.append(cells.codes(coded.indices), -1)[places]
    return Names(type_, found), places


def _only_piece(column: Array) -> Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _joined(parts: list[Array]) -> Array:
    """Those that are there, with commas between; empty where none is."""
    # Arrow's own way to leave out nulls leaves out rows that hold nothing else.
    led = [pc.binary_join_element_wise(",", part, "") for part in parts]
    return pc.utf8_slice_codeunits(pc.binary_join_element_wise(*led, "", null_handling="replace", null_replacement=""), 1)


def _numbered(codes: Ints) -> Ints:
    """The same codes as numbers from 0 on, in the order in which they come first."""
    return cells.codes(pa.array(codes).dictionary_encode().indices)


def _lengths(column: Array) -> Ints:
    return np.asarray(pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)).astype(np.int64)


def _sums(of_entries: Ints, column: Array) -> Ints:
    """The sum of each list."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)).astype(np.int64)
    return np.bincount(np.repeat(np.arange(len(column)), lengths), of_entries, len(column)).astype(np.int64)


def _instant_ms(text: str) -> int:
    if text.lstrip("+-").isdecimal():
        return int(text)
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * 1000 + passed.microseconds // 1000
