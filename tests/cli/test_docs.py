"""The reference page and the command line say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from cli.app import app
from cli.settings import Environment
from tests.cli.running import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text()


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(_commands(typer.main.get_command(app), "muster"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_on_the_page(name: str) -> None:
    section = re.search(rf"^### {re.escape(name)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/cli.md has no section `### {name}`"
    for option in COMMANDS[name].params:
        for flag in option.opts:
            if flag.startswith("--") and flag != "--help":
                assert flag in section[1], f"the section of {name} does not name {flag}"


def test_the_page_names_no_command_that_is_not_there() -> None:
    assert set(re.findall(r"^### (muster .*)$", PAGE, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_json_if_asked(name: str) -> None:
    assert "--json" in [flag for option in COMMANDS[name].params for flag in option.opts]


@pytest.mark.parametrize("name", Environment.model_fields)
def test_every_variable_is_on_the_page(name: str) -> None:
    assert f"`MUSTER_{name.upper()}`" in PAGE
