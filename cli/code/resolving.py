"""Files in an account: each name in them as the number that it has there, each definition as the server reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from muster.definition.v1 import definition_pb2
from muster.definition.v1 import language_service_pb2 as language_pb

from cli.client import Muster
from cli.code.account import Account
from cli.code.directory import Directory, Unresolved
from cli.code.files import File, Folder
from cli.code.names import Kind, Reference, Replaced, line_and_column, quoted, references, replaced, with_numbers
from cli.code.places import Fault, Place
from cli.code.plan import Difference, Present, Wanted, matched
from cli.code.yaml_text import place_in_text

# Audiences that are not there yet have numbers from here on, which no audience has; 1 stands for what could not be found.
_NEW_FROM = 2**62
_UNKNOWN = 1
_CHOICES = (language_pb.DIFFERENCE_KIND_WORKSPACES, language_pb.DIFFERENCE_KIND_INPUTS)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A file in an account. `definition` is None where it is known to be that of `there` to the letter; the audiences that are not there
    yet have the numbers of `Resolution.new` in it. `meaning` is what differs from the definition of `there`."""

    file: File
    wanted: Wanted
    there: Present | None
    workspace_ids: tuple[int, ...]
    input_ids: tuple[int, ...]
    definition: definition_pb2.Definition | None
    meaning: tuple[Difference, ...] = ()

    @property
    def name(self) -> str:
        return self.wanted.name


@dataclass(frozen=True, slots=True)
class Resolution:
    """All files in an account. `new` are the names of audiences that are not there yet, by the numbers that stand for them."""

    files: tuple[Resolved, ...]
    new: Mapping[int, str]
    faults: tuple[Fault, ...]


def resolve(muster: Muster, folder: Folder, account: Account) -> Resolution:
    """The files in the account, with all their faults but those that planning finds. Raises CliFault."""
    documents = [Wanted(file.document) for file in folder.files]
    pairs, _ = matched(documents, account.present)
    names = folder.names | {one.name for one in documents}
    new = dict(enumerate(sorted(names - pairs.keys()), _NEW_FROM))
    audiences = dict(account.directory.audiences) | {there.audience_id: name for name, there in pairs.items()}
    # An audience without a file whose name is that of a new one can't be meant.
    audiences = {number: name for number, name in audiences.items() if name not in new.values()} | new
    directory = replace(account.directory, audiences=audiences)
    former = {there.name: name for name, there in pairs.items() if there.name != name}
    reading = _Reading(muster, directory, new, former)
    found = [one for file in folder.files if (one := reading.file(file, pairs.get(file.document.name))) is not None]
    return Resolution(tuple(found), new, tuple(reading.faults))


@dataclass(slots=True)
class _Reading:
    muster: Muster
    directory: Directory
    new: Mapping[int, str]
    # The names of renamed audiences, by those that they have in the account.
    former: Mapping[str, str]
    faults: list[Fault] = field(default_factory=list)

    def file(self, file: File, there: Present | None) -> Resolved | None:
        """The file in the account; None where it has faults."""
        before = len(self.faults)
        document = file.document
        workspaces = self._workspaces(file)
        inputs = self._inputs(file, workspaces)
        self._connections(file)
        found, slips = references(document.definition)
        self.faults += [_at(file, *line_and_column(document.definition, slip.start), slip.description) for slip in slips]
        numbers = {one: self._number(file, one, workspaces) for one in found}
        wanted = Wanted(document, frozenset(one.name for one in found if one.kind is Kind.AUDIENCE))
        read = {number for one, number in numbers.items() if one.kind is Kind.AUDIENCE}
        if len(self.faults) == before and there is not None and _to_the_letter(wanted, read, there):
            return Resolved(file, wanted, there, workspaces, inputs, None)
        definition = self._parsed(file, with_numbers(document.definition, found, numbers.__getitem__))
        if definition is None or len(self.faults) > before:
            return None
        resolved = Resolved(file, wanted, there, workspaces, inputs, definition)
        if there is not None:
            resolved = replace(resolved, meaning=self._meaning(resolved, there))
        if there is None or resolved.meaning or not _same_choices(wanted, there):
            self._judge(resolved, found, numbers)
        return resolved if len(self.faults) == before else None

    def _workspaces(self, file: File) -> tuple[int, ...]:
        numbers = []
        for index, name in enumerate(file.document.workspaces):
            try:
                numbers.append(self.directory.workspace(name))
            except Unresolved as fault:
                self.faults.append(Fault(file.place("workspaces", index), str(fault)))
        # Where one is wrong, what depends on it is looked for in all.
        return tuple(numbers) if len(numbers) == len(file.document.workspaces) else tuple(self.directory.workspaces)

    def _inputs(self, file: File, workspaces: Sequence[int]) -> tuple[int, ...]:
        numbers = []
        for index, name in enumerate(file.document.inputs):
            try:
                numbers.append(self.directory.input(name, workspaces))
            except Unresolved as fault:
                self.faults.append(Fault(file.place("inputs", index), str(fault)))
        return tuple(numbers)

    def _connections(self, file: File) -> None:
        for index, connection in enumerate(file.document.connections):
            try:
                configuration = self.directory.configuration(connection.configuration)
            except Unresolved as fault:
                self.faults.append(Fault(file.place("connections", index, "configuration"), str(fault)))
                continue
            for key in sorted(configuration.secrets & connection.settings.keys()):
                place = file.place("connections", index, "settings", key)
                self.faults.append(Fault(place, f"{key} is a secret, and files hold none; keep it in the configuration"))

    def _number(self, file: File, one: Reference, workspaces: Sequence[int]) -> int:
        try:
            match one.kind:
                case Kind.AUDIENCE:
                    return self.directory.audience(one.name)
                case Kind.WORKSPACE:
                    return self.directory.workspace(one.name)
                case Kind.INPUT:
                    return self.directory.input(one.name, workspaces)
        except Unresolved as fault:
            renamed = one.kind is Kind.AUDIENCE and one.name in self.former
            why = f"the audience {one.name!r} is to be called {self.former[one.name]!r}; write that" if renamed else str(fault)
            self.faults.append(_at(file, *line_and_column(file.document.definition, one.start), why))
            return _UNKNOWN

    def _parsed(self, file: File, text: Replaced) -> definition_pb2.Definition | None:
        request = language_pb.ParseDefinitionRequest(text=text.text)
        answer = self.muster.call(self.muster.language.ParseDefinition, request, service="definition")
        self._tell(file, text, answer.faults)
        return None if answer.faults else answer.definition

    def _judge(self, one: Resolved, found: Sequence[Reference], numbers: Mapping[Reference, int]) -> None:
        """What the account would refuse. Audiences that are not there yet are taken as anybody's: the server does not know them."""
        pieces = [
            (ref.phrase, ref.end, "everyone") if numbers[ref] in self.new else (ref.start, ref.end, str(numbers[ref])) for ref in found
        ]
        text = replaced(one.wanted.document.definition, pieces)
        request = language_pb.ParseDefinitionRequest(text=text.text, workspace_ids=one.workspace_ids, input_ids=one.input_ids)
        answer = self.muster.call(self.muster.language.ParseDefinition, request, service="definition")
        self._tell(one.file, text, answer.faults)

    def _tell(self, file: File, text: Replaced, faults: Sequence[language_pb.TextFault]) -> None:
        self.faults += [_at(file, *text.place(fault.line, fault.column), fault.description) for fault in faults]

    def _meaning(self, one: Resolved, there: Present) -> tuple[Difference, ...]:
        request = language_pb.CompareDefinitionsRequest(
            audience_id=there.audience_id, definition=one.definition, workspace_ids=one.workspace_ids, input_ids=one.input_ids
        )
        answer = self.muster.call(self.muster.language.CompareDefinitions, request, service="definition")
        return tuple(
            Difference("definition", self._by_name(found.before), self._by_name(found.after))
            for found in answer.differences
            if found.kind not in _CHOICES
        )

    def _by_name(self, text: str) -> str:
        """A phrase with the names of audiences that are not there yet, of which the server can say numbers only."""
        for number, name in self.new.items():
            if str(number) in text:
                text = text.replace(str(number), quoted(name))
        return text


def _to_the_letter(wanted: Wanted, read: set[int], there: Present) -> bool:
    """Whether the definition is certainly that of the audience. The same name may by now be that of another audience."""
    return wanted.document.definition == there.document.definition and read == there.reads and _same_choices(wanted, there)


def _same_choices(wanted: Wanted, there: Present) -> bool:
    one, other = wanted.document, there.document
    return set(one.workspaces) == set(other.workspaces) and set(one.inputs) == set(other.inputs)


def _at(file: File, line: int, column: int, description: str) -> Fault:
    """A fault at a line and column of the text of the definition."""
    place, exact = place_in_text(file.tree, ("definition",), file.document.definition, line, column)
    return Fault(place, description if exact else f"{description} (line {line}, column {column} of the text)")


def place_of(files: Sequence[File], name: str, field_name: str) -> Place:
    """Where a field of the file of a name stands."""
    return next(file.place(field_name) for file in files if file.document.name == name)
