"""The audiences of an account as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.code.account import Account
from cli.code.directory import Directory, Unresolved
from cli.code.document import Document, folded
from cli.code.files import File, file_names, read_folder
from cli.code.names import Kind, references
from cli.code.places import refused
from cli.code.plan import Present
from cli.faults import CliFault, ExitCode
from services.chassis.errors import FieldViolation


def chosen(account: Account, numbers: Collection[int], tags: Iterable[str]) -> list[Present]:
    """The audiences of these numbers that have all these tags; without numbers, all. Raises CliFault for a number that is none."""
    unknown = sorted(set(numbers) - account.audiences.keys())
    if unknown:
        raise CliFault(f"There is no audience {unknown[0]}.", code="NOT_FOUND")
    of = set(tags)
    return [one for one in account.present if (not numbers or one.audience_id in numbers) and of <= set(one.document.tags)]


@dataclass(frozen=True, slots=True)
class Export:
    """The documents by their paths in the folder, and the files there that are about no audience of the account."""

    documents: Mapping[str, Document]
    without_audience: Sequence[str]


def make_export(folder: Path, account: Account, audiences: Sequence[Present]) -> Export:
    """What is to be written: an audience that has a file in the folder keeps it. Raises CliFault where names are not enough, or a file of
    the folder can't be read."""
    _check_names(account, audiences)
    existing: dict[str, File] = {}
    if folder.is_dir():
        found = read_folder(folder)
        if found.faults:
            raise refused(found.faults)
        existing = {folded(file.document.name): file for file in found.files}
    # Named among all audiences, so that a file is called alike whatever is chosen.
    names = file_names([one.name for one in account.present], taken={file.name for file in existing.values()})
    documents = {existing[key].name if (key := folded(one.name)) in existing else names[one.name]: one.document for one in audiences}
    there = {folded(name) for name in names}
    return Export(documents, sorted(file.name for key, file in existing.items() if key not in there))


def _check_names(account: Account, audiences: Sequence[Present]) -> None:
    """Files go by names: raises CliFault with each name that stands for several things."""
    called = Counter(one.name for one in account.present)
    violations = []
    for one in audiences:
        faults = [f"{called[one.name]} audiences are called so; give the others another name"] if called[one.name] > 1 else []
        faults += _ambiguous(one.document, account.directory)
        violations += [FieldViolation(f"audience {one.audience_id} ({one.name})", fault) for fault in faults]
    if violations:
        raise CliFault("Some names stand for several things.", exit_code=ExitCode.BAD_INPUT, violations=violations)


def _ambiguous(document: Document, directory: Directory) -> list[str]:
    """What a document names that could not be found by that name."""
    faults = []
    workspaces: list[int] = []
    for name in document.workspaces:
        try:
            workspaces.append(directory.workspace(name))
        except Unresolved as fault:
            faults.append(str(fault))
    named = [(one.kind, one.name) for one in references(document.definition)[0]]
    for kind, name in dict.fromkeys([*((Kind.INPUT, name) for name in document.inputs), *named]):
        try:
            match kind:
                case Kind.AUDIENCE:
                    directory.audience(name)
                case Kind.WORKSPACE:
                    directory.workspace(name)
                case Kind.INPUT:
                    directory.input(name, workspaces)
        except Unresolved as fault:
            faults.append(str(fault))
    for connection in document.connections:
        try:
            directory.configuration(connection.configuration)
        except Unresolved as fault:
            faults.append(str(fault))
    return list(dict.fromkeys(faults))
