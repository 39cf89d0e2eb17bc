from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from services.chassis import log as logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_is_an_object_with_time_level_event_and_service(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("weather")
    logs.get("x").info("batch_sent", connection_id=7)
    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "event": "batch_sent", "service": "weather", "connection_id": 7}


def test_what_is_bound_at_the_way_in_stands_in_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("weather")
    logs.bind(account_id=3, trace_id="abc")
    logs.get("x").info("one")
    logging.getLogger("library").warning("two %s", "words")
    assert [(line["event"], line["account_id"], line["trace_id"]) for line in lines(capsys)] == [("one", 3, "abc"), ("two words", 3, "abc")]


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("weather", "warning")
    logs.get("x").info("no")
    logging.getLogger("library").info("no")
    logs.get("x").warning("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


def test_an_exception_is_told_in_full_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("weather")
    try:
        raise ValueError("why")
    except ValueError as error:
        logs.get("x").error("failed", exc_info=error)
    (line,) = lines(capsys)
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert line["exception"][0]["exc_value"] == "why"
    assert "locals" not in json.dumps(line)


def test_the_console_form_is_for_a_persons_eyes(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("weather", form="console")
    logs.get("x").info("batch_sent", connection_id=7)
    assert "batch_sent" in (text := capsys.readouterr().out)
    assert not text.startswith("{")
