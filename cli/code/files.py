"""Folders of files: read with every fault at its place, and written so that the same audiences give the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cli.code import schema, yaml_text
from cli.code.directory import nearest
from cli.code.document import Document, State, folded
from cli.code.places import Fault, Place
from cli.code.yaml_text import FAULTS_MAX, Tree
from cli.faults import bad_input

FILES_MAX = 10_000
_SUFFIXES = (".yaml", ".yml")
_SLUG_BYTES = 80


@dataclass(frozen=True, slots=True)
class File:
    """A file that says something. `name` is its path in the folder."""

    name: str
    document: Document
    tree: Tree

    def place(self, *path: str | int) -> Place:
        """Where a field stands; the beginning of what it would stand in, where it is left out."""
        return self.tree.place(path)


@dataclass(frozen=True, slots=True)
class Folder:
    """What was read of a folder. `names` are those of all files, also of those that have faults."""

    files: tuple[File, ...]
    faults: tuple[Fault, ...]
    names: frozenset[str]


def read_folder(folder: Path) -> Folder:
    """All files of a folder and of the folders in it. Raises CliFault where there is no folder; all else that is wrong is in the answer."""
    if not folder.is_dir():
        raise bad_input(f"There is no folder {folder}.", hint="`muster export FOLDER` writes one.")
    faults: list[Fault] = []
    paths = list(_paths(folder, faults))
    if len(paths) > FILES_MAX:
        raise bad_input(f"{folder} has {len(paths):,} files; {FILES_MAX:,} are read at most.")
    files: list[File] = []
    names: set[str] = set()
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            # A pipe would be waited for.
            faults.append(Fault(Place(name), "it is no file that can be read"))
            continue
        try:
            with path.open("rb") as opened:
                data = opened.read(yaml_text.BYTES_MAX + 1)
        except OSError as fault:
            faults.append(Fault(Place(name), f"it can't be read: {fault.strerror}"))
            continue
        tree = yaml_text.read(data, name)
        found = read_file(tree)
        if isinstance(found, File):
            files.append(found)
        else:
            faults += found
        if isinstance(tree.value, dict):
            names.add(str(tree.value.get("name", "")))
    names.discard("")
    return Folder(tuple(files), (*faults, *_shared_names(files)), frozenset(names))


def read_file(tree: Tree) -> File | list[Fault]:
    """What the tree of a file says, or all its faults."""
    if tree.faults and not tree.value:
        return list(tree.faults)
    try:
        document = Document.model_validate(tree.value)
    except ValidationError as fault:
        # Where an entry of a list is wrong, pydantic also counts those that are left.
        found = [error for error in fault.errors() if error["type"] != "too_short" or not error["input"]]
        return [*tree.faults, *(_fault(tree, error) for error in found[:FAULTS_MAX])]
    misfits = [Fault(tree.place(path), description) for path, description in document.misfits()]
    return [*tree.faults, *misfits] or File(tree.file, document, tree)


def _paths(folder: Path, faults: list[Fault]) -> Iterator[Path]:
    def told(fault: OSError) -> None:
        # Passed over, its files would be taken for audiences that have none.
        faults.append(Fault(Place(Path(fault.filename).relative_to(folder).as_posix()), f"it can't be read: {fault.strerror}"))

    for at, folders, names in os.walk(folder, onerror=told):
        # In one order everywhere; what begins with a dot is not ours.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(at, name) for name in sorted(names) if name.endswith(_SUFFIXES) and not name.startswith("."))


def _shared_names(files: Sequence[File]) -> Iterator[Fault]:
    now: dict[str, File] = {}
    for file in files:
        first = now.setdefault(folded(file.document.name), file)
        if first is not file:
            why = f"{first.name} has the name {first.document.name!r} as well; give one of them another name"
            yield Fault(file.place("name"), why)
    # An audience that is told to have been renamed could else be taken for another one's, as after somebody deleted it by hand.
    earlier: dict[str, File] = {}
    for file in files:
        previous = file.document.previous_name
        if previous is None:
            continue
        has, had = now.get(folded(previous)), earlier.setdefault(folded(previous), file)
        if has is not None and has is not file:
            why = f"{has.name} has the name {previous!r} now; remove this, or rename first and add that file then"
            yield Fault(file.place("previous_name"), why)
        elif had is not file:
            why = f"{had.name} had the name {previous!r} as well; only one can have been it"
            yield Fault(file.place("previous_name"), why)


def _fault(tree: Tree, error: Any) -> Fault:
    """What pydantic found, in words, at its place."""
    path = tuple(part for part in error["loc"] if part != "[key]")
    kind, context = error["type"], error.get("ctx", {})
    given = error["input"]
    match kind:
        case "extra_forbidden":
            near = nearest(str(path[-1]), _fields(path[:-1]))
            return Fault(tree.keys.get(path, tree.place(path)), f"there is no field {path[-1]!r}{near}")
        case "missing":
            return Fault(tree.place(path), f"{path[-1]} is missing; write `{path[-1]}: ...`")
        case "value_error":
            said = str(context["error"])
        case "string_pattern_mismatch":
            said = "it is empty"
        case "string_too_long":
            said = f"it has {len(str(given))} characters; shorten it to {context['max_length']} or fewer"
        case "too_long":
            said = f"there are {context['actual_length']}; keep {context['max_length']} or fewer"
        case "too_short":
            said = "name at least one"
        case "enum":
            said = f"{given!r} is not one of {', '.join(State)}" if isinstance(given, str) else "a word is wanted here"
        case "greater_than_equal" | "less_than_equal" | "int_parsing" | "int_type" | "int_parsing_size" | "int_from_float":
            said = "a whole number from 1 to 100 is wanted here"
        case "tuple_type":
            said = "a list is wanted here: `- ...` on lines of their own, or [..., ...]"
        case "model_type" | "dict_type" | "model_attributes_type":
            said = "fields are wanted here: `name: value` on lines of their own"
        case "string_type":
            said = "a text is wanted here"
        case _:
            said = str(error["msg"])
    return Fault(tree.place(path), said)


def _fields(path: Sequence[str | int]) -> list[str]:
    """The fields that are known at a path."""
    at: Any = Document
    for part in path:
        if isinstance(part, str) and isinstance(at, type) and issubclass(at, BaseModel):
            at = _model_in(at.model_fields[part].annotation)
    return list(at.model_fields)


def _model_in(annotation: Any) -> Any:
    """The model in `Schedule | None` or `tuple[Variation, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(found for part in getattr(annotation, "__args__", ()) if part is not ... and (found := _model_in(part)) is not None)


def text_of(document: Document, schema_path: str = schema.FILE_NAME) -> str:
    """The file of an audience: fields in their order, what is not set left out. The first line tells editors where the schema is."""
    said: dict[str, Any] = {"name": document.name}
    for name in ("external_name", "description"):
        if value := getattr(document, name):
            said[name] = value
    for name in ("tags", "workspaces", "inputs"):
        if values := getattr(document, name):
            said[name] = sorted(values)
    # A line break at its end makes a block of it, on which one can write on.
    said["definition"] = f"{document.definition}\n"
    said["state"] = str(document.state)
    if document.schedule is not None:
        times = {"activate": document.schedule.activate, "deactivate": document.schedule.deactivate}
        said["schedule"] = {name: at.isoformat().replace("+00:00", "Z") for name, at in times.items() if at}
    if document.test is not None:
        said["test"] = document.test.model_dump(mode="json")
    if document.connections:
        connections = sorted(document.connections, key=lambda one: one.key)
        said["connections"] = [_set(one.model_dump(mode="json")) for one in connections]
    return f"# yaml-language-server: $schema={schema_path}\n{yaml_text.write(said)}"


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(sorted(value.items())) if isinstance(value, dict) else value for name, value in fields.items() if value}


def file_names(names: Sequence[str], taken: Collection[str] = ()) -> dict[str, str]:
    """A file name for each name: its letters and digits. Names that would share one, or have a name that is taken, also have a piece of
    their digest, as do those without any letter."""
    slugs = {name: _slug(name) for name in names}
    shared = Counter(slugs.values())
    alone = {name for name, slug in slugs.items() if slug and shared[slug] == 1 and f"{slug}.yaml" not in taken}
    return {name: f"{slug}.yaml" if name in alone else f"{slug}-{_digest(name)}.yaml".lstrip("-") for name, slug in slugs.items()}


def _slug(name: str) -> str:
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())).strip("-")
    return words.encode()[:_SLUG_BYTES].decode(errors="ignore").strip("-")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def write_folder(folder: Path, documents: Mapping[str, Document]) -> list[str]:
    """Write the files, by their paths in the folder, and the schema beside them. Returns the paths of those that are other than before."""
    texts = {schema.FILE_NAME: schema.text()}
    for path, document in documents.items():
        texts[path] = text_of(document, "../" * path.count("/") + schema.FILE_NAME)
    changed = []
    try:
        for path, text in sorted(texts.items()):
            at = folder / path
            at.parent.mkdir(parents=True, exist_ok=True)
            if not at.is_file() or at.read_bytes() != text.encode():
                _write(at, text)
                changed.append(path)
    except OSError as fault:
        raise bad_input(f"{fault.filename} can't be written: {fault.strerror}") from None
    return changed


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    made = path.with_name(f".{path.name}.new")
    try:
        made.write_bytes(text.encode())
        made.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
