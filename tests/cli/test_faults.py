"""What a person is told when it does not work, with no service anywhere."""

from __future__ import annotations

import pytest

from tests.cli.running import Run

_SECRET = "a secret for tests, and for nothing else"


@pytest.fixture
def away(muster: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command whose services are at an address where nothing listens."""
    for service in ("definition", "ingest", "evaluator", "forwarder", "sharing", "export", "console"):
        monkeypatch.setenv(f"MUSTER_{service.upper()}_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("MUSTER_TOKEN_SECRET", _SECRET)
    monkeypatch.setenv("MUSTER_ACCOUNT", "1")
    return muster


@pytest.mark.parametrize(
    "line",
    [
        "status",
        "account create Acme",
        "workspace list",
        "input list",
        "input tail 1",
        "audience list",
        "audience show 1",
        "audience members 1",
        "connection list",
        "configuration list",
        "integration list",
        "deadletters list",
    ],
)
def test_a_service_that_is_away_exits_with_3(away: Run, line: str) -> None:
    ended = away(*line.split())
    assert ended.exit_code == 3
    assert "muster:" in ended.err
    assert "Traceback" not in ended.err
    assert away(*line.split(), "--json").fault["message"]


@pytest.mark.parametrize(
    "line",
    [
        "audience show seven",
        "audience show -1",
        "audience create New --workspace 1",
        "audience members",
        "input create iPhone --workspace 1",
        "input create iPhone --workspace 1 --platform ios --feed",
        "input create iPhone --workspace 1 --platform abacus",
        "input update 1",
        "workspace types set 1 zip abacus",
        "audience list --state asleep",
        "audience estimate",
        "audience create New --workspace 1 --definition - --text everyone",
        "audience estimate 1 --definition -",
        "audience estimate 1 --text everyone",
        "audience estimate --text everyone",
        "connection list --state asleep",
        "configuration create Ours --integration webhook --setting url",
        "configuration create Ours --integration webhook --setting a=1 --setting a=2",
        "configuration create Ours --integration webhook --setting secret=@/nowhere/at/all",
        "deadletters list --service abacus",
        "token mint --ttl forever",
        "dev --ports none",
        "dev --ports auto --port-offset 1",
        "dev --port-offset 60000",
        "demo --people 3",
        "dance",
        "audience dance",
        "audience list --dance",
    ],
)
def test_a_command_called_wrongly_exits_with_2_and_says_how(away: Run, line: str) -> None:
    ended = away(*line.split(), stdin="{}")
    assert ended.exit_code == 2, ended
    assert ended.err
    assert ended.out == ""
    assert "Traceback" not in ended.err
    as_json = away(*line.split(), "--json", stdin="{}")
    assert as_json.exit_code == 2
    assert as_json.fault["message"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"roots": {}}', '{"root": {"all": {"nodes": 7}}}', "\x00"])
def test_what_is_not_a_definition_exits_with_2(away: Run, text: str) -> None:
    ended = away("audience", "create", "New", "--workspace", "1", "--definition", "-", "--json", stdin=text)
    assert ended.exit_code == 2
    assert "standard input is not a definition" in ended.fault["message"]


def test_without_a_token_the_person_is_told_how_to_get_one(muster: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = muster("audience", "list")
    assert ended.exit_code == 2
    assert "--account" in ended.err
    monkeypatch.setenv("MUSTER_ACCOUNT", "1")
    ended = muster("audience", "list")
    assert ended.exit_code == 2
    assert "MUSTER_TOKEN" in ended.err


def test_a_variable_that_is_at_fault_is_named(muster: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_ACCOUNT", "acme")
    ended = muster("audience", "list", "--json")
    assert ended.exit_code == 2
    assert "MUSTER_ACCOUNT" in ended.fault["message"]


def test_no_token_is_minted_without_a_secret(away: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_TOKEN_SECRET", "")
    assert away("token", "mint").exit_code == 2


def test_what_nobody_expected_is_one_line_too(muster: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr("cli.settings.Settings.load", broken)
    ended = muster("status")
    assert ended.exit_code == 1
    assert "RuntimeError: the sky fell" in ended.err
    assert "Traceback" not in ended.err
