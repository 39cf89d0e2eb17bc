"""Definitions on the command line: read from JSON or from the text language, and told in the words of the definition service."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import ParseDict, ParseError
from muster.definition.v1 import definition_pb2
from muster.definition.v1 import language_service_pb2 as pb
from rich.cells import cell_len

from cli.client import Muster
from cli.faults import CliFault, ExitCode, bad_input
from services.chassis.errors import FieldViolation

DefinitionOption = Annotated[str, typer.Option("--definition", help="A file with the definition as JSON; `-` reads standard input.")]
TextOption = Annotated[
    str, typer.Option("--text", help="Or the definition as a text, `installed within 72 hours`; `-` reads standard input.")
]

_INDENT = "  "
_FAULTS_SHOWN = 10
# Of a long line so many characters are shown, some of them before the place.
_LINE_MAX, _BEFORE = 100, 40


def read(muster: Muster, source: str, text: str, *, workspaces: Sequence[int], inputs: Sequence[int]) -> definition_pb2.Definition:
    """The definition that is given, in one of the two ways. Raises CliFault, with each place of a faulty text marked."""
    if source:
        return _read_json(source)
    said = _read_source("-") if text == "-" else text
    request = pb.ParseDefinitionRequest(text=said, workspace_ids=workspaces, input_ids=inputs)
    answer = muster.call(muster.language.ParseDefinition, request, service="definition")
    if answer.faults:
        raise _faulty(said, answer.faults)
    return answer.definition


def text_of(muster: Muster, definition: definition_pb2.Definition) -> str:
    """The definition in the text language, on several lines."""
    request = pb.PrintDefinitionRequest(definition=definition, multiline=True)
    return muster.call(muster.language.PrintDefinition, request, service="definition").text


def words_of(muster: Muster, definition: definition_pb2.Definition, workspaces: Sequence[int]) -> pb.DescribeDefinitionResponse:
    """The definition as a sentence, and as a phrase for each node."""
    request = pb.DescribeDefinitionRequest(definition=definition, workspace_ids=workspaces)
    return muster.call(muster.language.DescribeDefinition, request, service="definition")


def name_nodes(definition: definition_pb2.Definition) -> None:
    """An id for each node that has none, so that its size can be told."""
    for number, node in enumerate(_nodes(definition.root), 1):
        node.id = node.id or f"line {number}"


def _nodes(node: definition_pb2.Node) -> Iterator[definition_pb2.Node]:
    yield node
    exclude = [node.exclude.node] if node.HasField("exclude") else []
    for inner in [*node.all.nodes, *node.any.nodes, *exclude]:
        yield from _nodes(inner)


def _read_source(source: str) -> str:
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text()
    except (OSError, UnicodeDecodeError) as fault:
        raise bad_input(f"The definition can't be read: {fault}") from None


def _read_json(source: str) -> definition_pb2.Definition:
    """`{"root": {...}}` in protobuf's JSON."""
    text = _read_source(source)
    place = "standard input" if source == "-" else source
    try:
        tree = json.loads(text)
        if not isinstance(tree, dict):
            raise ParseError("a JSON object is needed.")
        return ParseDict(tree, definition_pb2.Definition())
    except (ParseError, ValueError, RecursionError) as fault:
        raise bad_input(f"{place} is not a definition: {fault}", hint="docs/cli.md shows one.") from None


def _faulty(text: str, faults: Sequence[pb.TextFault]) -> CliFault:
    lines = text.split("\n")
    shown = [line for fault in faults[:_FAULTS_SHOWN] for line in marked(lines[fault.line - 1], fault)]
    if len(faults) > _FAULTS_SHOWN:
        shown.append(f"{_INDENT}and {len(faults) - _FAULTS_SHOWN} more faults")
    return CliFault(
        "The text of the definition has faults.",
        exit_code=ExitCode.BAD_INPUT,
        violations=[FieldViolation(f"text:{fault.line}:{fault.column}", fault.description) for fault in faults],
        hint="docs/concepts/language.md is all of the language.",
        excerpt=shown,
    )


def marked(line: str, fault: pb.TextFault) -> list[str]:
    """The line with carets under the place, and what is wrong there."""
    start = max(0, fault.column - 1 - _BEFORE) if len(line) > _LINE_MAX else 0
    piece = "".join(character if character.isprintable() else " " for character in line[start : start + _LINE_MAX])
    at = fault.column - 1 - start
    # Some scripts have characters that are two columns wide.
    carets = "^" * max(1, cell_len(piece[at : at + fault.length]))
    return [f"{_INDENT}{piece}", f"{_INDENT}{' ' * cell_len(piece[:at])}{carets}", f"{_INDENT}{fault.description}"]
