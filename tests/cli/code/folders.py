"""An account with all that files can say, and ways to look at it and to empty it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from cli.client import Muster
from cli.faults import CliFault, ExitCode
from tests.cli.running import Run


def furnish(live: Run) -> None:
    """Workspaces, inputs and configurations: two inputs share a name."""
    shop, app = (live("workspace", "create", name, "--json").document["workspace_id"] for name in ("Shop", "App"))
    for name, workspace in (("Web", shop), ("iOS", shop), ("Web", app)):
        assert live("input", "create", name, "--workspace", workspace, "--feed", "--json").exit_code == 0
    for name in ("Hook", "Other hook"):
        made = live(
            *("configuration", "create", name, "--integration", "webhook", "--json"),
            *("--setting", "url=https://192.0.2.1/hook", "--setting", f"secret={'s' * 32}"),
        )
        assert made.exit_code == 0, made.err


FILES = {
    "plain.yaml": 'name: Plain\nworkspaces: [Shop]\ndefinition: sessions < 3 and (plan = "gold" or crash)\n',
    "inner.yaml": """
name: "Inner: the \\"first\\", № 1"
description: |
  On two
    lines.
tags: [spring, "2024", 名前]
workspaces: [Shop]
inputs: [iOS, Web]
definition: |
  installed from input "Web" within 72 hours   # those that are new
  and not (plan contains "member of 3" or event "in workspace 1" from inputs ("iOS", "Web") >= 2)
state: active
""",
    "outer.yaml": """
name: Outer
external_name: The outer one
workspaces: [App, Shop]
inputs: [Shop/Web, App/Web]
definition: |
  member of "Inner: the \\"first\\", № 1" and not member of "Plain"
  and plan = "x" in workspace "App" and purchase from input "App/Web"
state: active
test:
  name: Buttons
  variations: [{name: Blue, percentage: 20}, {name: Red, percentage: 30}]
connections:
  - {configuration: Hook, variation: Blue}
  - {configuration: Other hook, variation: Control}
  - {configuration: Hook}
""",
    "gone.yaml": 'name: Gone\nworkspaces: [Shop]\ndefinition: any(member of "Plain", all(everyone))\nstate: inactive\ntags: [old]\n',
    "shelf.yaml": """
name: On the shelf
workspaces: [Shop]
definition: crash
state: archived
test: {variations: [{name: A, percentage: 1}]}
""",
    "later.yaml": """
name: Later
workspaces: [Shop]
definition: everyone
schedule: {activate: "2126-12-01T08:00", deactivate: "2126-12-01T10:00:00.250+01:00"}
""",
}


def fill(folder: Path, files: dict[str, str] | None = None) -> Path:
    """The files in a folder."""
    folder.mkdir(exist_ok=True)
    for name, text in (FILES if files is None else files).items():
        (folder / name).write_text(text)
    return folder


def contents(live: Run, folder: Path) -> dict[str, bytes]:
    """What `muster export` writes to a new folder."""
    exported = live("export", folder, "--json")
    assert exported.exit_code == 0, exported.err
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wipe(live: Run) -> None:
    """Delete every audience."""
    for archived in ([], ["--archived"]):
        for audience in live("audience", "list", "--json", *archived).document["audiences"]:
            live("audience", "delete", audience["audience_id"], "--yes", "--cascade", "--json")
    assert live("audience", "list", "--json").document["audiences"] == []


def number_of(live: Run, name: str) -> str:
    """The number of the audience of this name."""
    for archived in ([], ["--archived"]):
        for audience in live("audience", "list", "--json", *archived).document["audiences"]:
            if audience["name"] == name:
                return str(audience["audience_id"])
    raise AssertionError(f"there is no audience {name}")


def states(live: Run) -> str:
    """Every audience, test and connection as it is, with its etag."""
    lists = [live("audience", "list", "--json", *archived).document["audiences"] for archived in ([], ["--archived"])]
    told = [{key: value for key, value in one.items() if key != "statistics"} for audiences in lists for one in audiences]
    connections = live("connection", "list", "--json").document["connections"]
    return json.dumps([told, sorted(one["connection_id"] for one in connections)])


_READS = re.compile(r"/(Get|List|Parse|Print|Compare|Describe)\w+$")


def cut_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """The answer to the call that changes something after so many is lost, and no service answers any more."""
    whole = Muster.call
    made = 0

    def call(self: Muster, method: Any, request: Message, **more: Any) -> Any:
        nonlocal made
        if made > calls:
            raise CliFault("The service does not answer.", exit_code=ExitCode.UNAVAILABLE)
        answer: Any = whole(self, method, request, **more)
        # gRPC keeps the path of a method there.
        if not _READS.search(method._method.decode()):
            made += 1
            if made > calls:
                raise CliFault("The service does not answer.", exit_code=ExitCode.UNAVAILABLE)
        return answer

    monkeypatch.setattr(Muster, "call", call)
