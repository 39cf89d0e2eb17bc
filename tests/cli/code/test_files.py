"""Files: everything that is wrong with all of them at once, each at its place; and what is written is read back."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.code import schema, yaml_text
from cli.code.document import AbTest, Connection, Document, Schedule, State, Variation, folded
from cli.code.files import File, file_names, read_file, read_folder, text_of, write_folder
from cli.code.yaml_text import place_in_text
from cli.faults import CliFault
from services.definition.domain import texts
from tests.cli.running import ROOT

WHOLE = "name: New\nworkspaces: [Shop]\ndefinition: everyone\n"


def faults_of(text: str | bytes) -> list[tuple[str, str]]:
    data = text if isinstance(text, bytes) else text.encode()
    found = read_file(yaml_text.read(data, "a.yaml"))
    return [] if isinstance(found, File) else [(str(fault.place), fault.description) for fault in found]


VALIDATOR = jsonschema_rs.validator_for(json.loads(schema.text()))
_LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12)
NAMES = (
    _LINE
    | st.sampled_from(
        [
            "no",
            "2024",
            "007",
            "1e3",
            "null",
            "~",
            "2026-01-31",
            "- a",
            "a: b",
            "#x",
            "&a",
            "*a",
            "!b",
            "'",
            '"',
            "|",
            ">",
            "%",
            "@",
            "{}",
            "[]",
        ]
    )
).filter(str.strip)
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], include_characters="\n\r\t"),
    max_size=40,
)
INSTANTS = st.integers(0, 7_000_000_000_000).map(lambda ms: datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000))


@st.composite
def documents(draw: st.DrawFn) -> Document:
    times = sorted(draw(st.lists(INSTANTS, min_size=2, max_size=2, unique=True)))
    schedule = draw(st.sampled_from([None, Schedule(activate=times[0], deactivate=times[1]), Schedule(activate=times[0])]))
    state = draw(st.sampled_from(State))
    names = draw(st.lists(NAMES.filter(lambda name: name.casefold() != "control"), unique_by=str.casefold, max_size=3))
    test = (
        AbTest(name=draw(NAMES), variations=tuple(Variation(name=name, percentage=draw(st.integers(1, 33))) for name in names))
        if names
        else None
    )
    keys = draw(st.lists(st.tuples(NAMES, st.sampled_from(["", *names])), unique=True, max_size=2))
    return Document(
        name=draw(NAMES),
        external_name=draw(st.just("") | NAMES),
        description=draw(TEXTS),
        tags=tuple(sorted(draw(st.lists(NAMES, unique=True, max_size=3)))),
        workspaces=tuple(sorted(draw(st.lists(NAMES, unique=True, min_size=1, max_size=2)))),
        inputs=tuple(sorted(draw(st.lists(NAMES, unique=True, max_size=2)))),
        definition=draw(TEXTS.filter(str.strip)),
        state=state,
        schedule=None if state is State.ARCHIVED else schedule,
        test=test,
        connections=tuple(
            Connection(configuration=one, variation=other, settings=draw(st.dictionaries(NAMES, TEXTS.filter(bool), max_size=2)))
            for one, other in sorted(keys)
        ),
    )


@settings(max_examples=300, deadline=None)
@given(documents())
def test_what_is_written_is_read_back(document: Document) -> None:
    text = text_of(document)
    found = read_file(yaml_text.read(text.encode(), "a.yaml"))
    assert isinstance(found, File), found
    assert found.document == document
    assert text_of(found.document) == text
    # Any other reader of YAML sees the same texts, and the schema takes them.
    said = yaml.safe_load(text)
    assert said["name"] == document.name
    VALIDATOR.validate(said)


@settings(max_examples=500)
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(
            ["a", ":", " ", "\n", "- ", "[", "]", "{", "}", "&x", "*x", "!", "|", ">", "'", '"', "name", "test", "?", "---", ","]
        ),
        max_size=20,
    ).map(lambda parts: "".join(parts).encode())
)
def test_no_bytes_are_too_much(data: bytes) -> None:
    faults_of(data)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    "data",
    [
        BOMB.encode(),
        b"[" * 999_999,
        b"{a: " * 200_000,
        b"- " * 400_000,
        b"? " * 400_000,
        b"a: b\n" * 190_000,
        b"- a\n" * 240_000,
        b"x" * 5_000_000,
        b"&a " * 300_000,
    ],
    ids=["aliases", "lists", "mappings", "items", "keys", "twice", "long list", "size", "anchors"],
)
def test_bombs_are_refused_in_no_time(data: bytes) -> None:
    start = time.monotonic()
    found = faults_of(data)
    assert 1 <= len(found) <= 101
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (f"{WHOLE}name: Other\n", "a.yaml:4:1", "name is there twice; keep one"),
        (f"{WHOLE}stat: draft\n", "a.yaml:4:1", "there is no field 'stat'; did you mean 'state'?"),
        (f"{WHOLE}test:\n  variations:\n    - nam: A\n      percentage: 5\n", "a.yaml:6:7", "there is no field 'nam'; did"),
        (f"{WHOLE}tags: &t [a]\n", "a.yaml:4:7", "anchors and aliases"),
        (f"{WHOLE}tags: *t\n", "a.yaml:4:7", "anchors and aliases"),
        (f"{WHOLE}tags: !!set [a]\n", "a.yaml:4:7", "tags are not read here"),
        (f"{WHOLE}<<: {{state: draft}}\n", "a.yaml:4:1", "there is no field '<<'"),
        (f"{WHOLE}state: actve\n", "a.yaml:4:8", "'actve' is not one of draft, active, inactive, archived"),
        (f"{WHOLE}tags: spring\n", "a.yaml:4:7", "a list is wanted here"),
        (f"{WHOLE}external_name: ' '\n", "a.yaml:4:16", "it is empty"),
        (f'{WHOLE}description: "a\\x00b"\n', "a.yaml:4:14", "it holds a control character"),
        (f"{WHOLE}tags: [a, b, a]\n", "a.yaml:4:7", "a is there twice"),
        (f"{WHOLE}tags: [abcdefghijklmnopqrs]\n", "a.yaml:4:8", "it has 19 characters; shorten it to 18 or fewer"),
        (f"{WHOLE}schedule: {{activate: tomorrow}}\n", "a.yaml:4:22", "an instant is written as 2026-12-01T08:00Z"),
        (f"{WHOLE}schedule: {{activate: 2026-12-02, deactivate: 2026-12-01}}\n", "a.yaml:4:11", "it ends before it begins"),
        (f"{WHOLE}test: {{variations: [{{name: A, percentage: 60}}, {{name: B, percentage: 50}}]}}\n", "a.yaml:4:7", "add up to 110%"),
        (f"{WHOLE}test: {{variations: [{{name: control, percentage: 60}}]}}\n", "a.yaml:4:7", "Control is there by itself"),
        (f"{WHOLE}test: {{variations: [{{name: A, percentage: half}}]}}\n", "a.yaml:4:43", "a whole number from 1 to 100"),
        (f"{WHOLE}test: {{variations: []}}\n", "a.yaml:4:20", "name at least one"),
        (f"{WHOLE}connections: [{{configuration: Mail, variation: Blue}}]\n", "a.yaml:4:48", "the audience has no test"),
        (f"{WHOLE}previous_name: New\n", "a.yaml:4:16", "this is the name itself"),
        (f"{WHOLE}state: archived\nschedule: {{activate: 2026-12-01}}\n", "a.yaml:5:11", "an archived audience has no schedule"),
        (f"{WHOLE}connections: [{{configuration: Mail}}, {{configuration: Mail}}]\n", "a.yaml:4:38", "connected to Mail above already"),
        (f"{WHOLE}connections: [{{configuration: Mail, settings: {{list: [1]}}}}]\n", "a.yaml:4:54", "a text is wanted here"),
        ("workspaces: [Shop]\ndefinition: everyone\n", "a.yaml:1:1", "name is missing"),
        ("name:\nworkspaces: [Shop]\ndefinition: everyone\n", "a.yaml:1:6", "name is missing"),
        ("name: '  '\nworkspaces: [Shop]\ndefinition: everyone\n", "a.yaml:1:7", "it is empty"),
        ("- a\n", "a.yaml:1:1", "fields are wanted here"),
        ("", "a.yaml:1:1", "name is missing"),
        (f"{WHOLE}---\n{WHOLE}", "a.yaml:4:1", "a file holds one audience"),
        (f"{WHOLE}tags: [a\n", "a.yaml:5:1", "this is not YAML"),
        (WHOLE.encode() + b"tags: [\xff]\n", "a.yaml:4:1", "the file is not UTF-8"),
        (f"{WHOLE}tags: [a\x07]\n", "a.yaml:4:9", "U+0007 is not read here"),
    ],
)  # fmt: skip
def test_each_fault_has_its_place_and_says_how_to_mend_it(text: str | bytes, place: str, words: str) -> None:
    assert any(found[0] == place and words in found[1] for found in faults_of(text)), faults_of(text)


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text(f"{WHOLE}stat: draft\ntags: x\n")
    (tmp_path / "deep" / "b.yml").write_text("name: [New]\n")
    (tmp_path / "c.yaml").write_text(WHOLE)
    (tmp_path / "d.yaml").write_text(WHOLE)
    (tmp_path / ".hidden.yaml").write_text("nothing")
    (tmp_path / "notes.txt").write_text("nothing")
    found = read_folder(tmp_path)
    assert [str(fault.place) for fault in sorted(found.faults)] == [
        "a.yaml:4:1",
        "a.yaml:5:7",
        "d.yaml:1:7",
        *["deep/b.yml:1:1"] * 2,
        "deep/b.yml:1:7",
    ]
    assert "c.yaml has the name 'New' as well" in next(fault.description for fault in found.faults if fault.place.file == "d.yaml")


def test_a_name_that_an_audience_had_is_nobody_elses(tmp_path: Path) -> None:
    for name, previous in (("A", "Old"), ("B", "OLD"), ("C", "d"), ("D", "Older"), ("E", "e")):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nprevious_name: {previous}\nworkspaces: [Shop]\ndefinition: everyone\n")
    assert [(str(fault.place), fault.description.split(";")[0]) for fault in read_folder(tmp_path).faults] == [
        ("B.yaml:2:16", "A.yaml had the name 'OLD' as well"),
        ("C.yaml:2:16", "D.yaml has the name 'd' now"),
    ]


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "nowhere.yaml").symlink_to(tmp_path / "none")
    assert [str(fault.place) for fault in read_folder(tmp_path).faults] == ["nowhere.yaml", "pipe.yaml"]


def test_a_folder_inside_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.yaml").write_text(WHOLE)
    whole = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [(str(fault.place), fault.description) for fault in read_folder(tmp_path).faults] == [
        ("deep", "it can't be read: Permission denied")
    ]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CliFault, match="There is no folder"):
        read_folder(tmp_path / "none")


def test_scalars_are_the_texts_that_stand_there() -> None:
    found = read_file(yaml_text.read(b"name: no\ntags: [2024, 1e3, ~, 2026-01-31]\nworkspaces: [007]\ndefinition: everyone\n", "a.yaml"))
    assert isinstance(found, File)
    assert (found.document.name, found.document.tags, found.document.workspaces) == ("no", ("2024", "1e3", "~", "2026-01-31"), ("007",))


@pytest.mark.parametrize(
    ("definition", "line", "column", "place"),
    [
        ("|\n  a b\n    c d\n", 2, 3, "a.yaml:3:5"),
        ("|-\n      a b\n      c d", 1, 3, "a.yaml:2:9"),
        ("|2\n    a\n", 1, 3, "a.yaml:2:5"),
        ("a b", 1, 3, "a.yaml:1:15"),
        ("'a b'", 1, 3, "a.yaml:1:16"),
        ('"a b"', 1, 3, "a.yaml:1:16"),
        ('"a\\tb"', 1, 3, "a.yaml:1:13 inexact"),
        (">\n  a\n  b\n", 1, 3, "a.yaml:1:13 inexact"),
    ],
)
def test_a_place_in_a_text_is_a_place_in_the_file(definition: str, line: int, column: int, place: str) -> None:
    tree = yaml_text.read(f"definition: {definition}".encode(), "a.yaml")
    assert isinstance(tree.value, dict)
    found, exact = place_in_text(tree, ("definition",), str(tree.value["definition"]), line, column)
    assert f"{found}{'' if exact else ' inexact'}" == place


def test_file_names_come_from_names_and_no_two_are_alike() -> None:
    names = file_names(["New people", "Größe & Co", "名前", "A", "a", "!!!", "x" * 100])
    assert [names[name] for name in ("New people", "Größe & Co", "名前")] == ["new-people.yaml", "grösse-co.yaml", "名前.yaml"]
    assert len(set(names.values())) == 7
    assert names["A"].startswith("a-")
    assert file_names(["New"], taken={"new.yaml"})["New"] != "new.yaml"


def test_writing_again_touches_nothing(tmp_path: Path) -> None:
    document = Document.model_validate(yaml.safe_load(WHOLE))
    assert write_folder(tmp_path, {"deep/new.yaml": document}) == [schema.FILE_NAME, "deep/new.yaml"]
    assert (tmp_path / "deep" / "new.yaml").read_text().startswith("# yaml-language-server: $schema=../audience.schema.json\n")
    assert write_folder(tmp_path, {"deep/new.yaml": document}) == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == [schema.FILE_NAME, "deep", "new.yaml"]


def test_the_schema_of_the_docs_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / schema.FILE_NAME).read_text() == schema.text(), "`muster export` writes the one of now"


def test_the_schema_says_all_fields_and_no_other() -> None:
    said: dict[str, Any] = json.loads(schema.text())
    assert set(said["properties"]) == set(Document.model_fields)
    assert said["additionalProperties"] is False
    assert all("description" in one for one in said["properties"].values())


@pytest.mark.parametrize(
    "wrong", [{"stat": "draft"}, {"state": "gone"}, {"tags": "a"}, {"name": " "}, {"test": {"variations": []}}, {"workspaces": []}]
)
def test_the_schema_refuses_what_files_may_not_say(wrong: dict[str, Any]) -> None:
    whole = {"name": "New", "workspaces": ["Shop"], "definition": "everyone"}
    assert VALIDATOR.is_valid(whole)
    assert not VALIDATOR.is_valid(whole | wrong)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
def test_names_are_folded_as_the_account_does(name: str) -> None:
    assert folded(name) == texts.folded(name)
