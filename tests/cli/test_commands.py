"""Commands against real services, in the order in which a person uses them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli import devfile
from services.chassis import auth
from services.chassis.bus import Bus
from tests.cli.running import ROOT, Result, Run
from tests.fakes.waiting import eventually

# Installed in the last 72 hours, and fewer than 3 sessions.
SEED = """{"root": {"all": {"nodes": [
  {"criterion": {"event": {"match": {"type": "EVENT_TYPE_INSTALL"}, "when": {"last": {"count": 72, "unit": "DURATION_UNIT_HOUR"}}}}},
  {"criterion": {"event": {"match": {"type": "EVENT_TYPE_SESSION_START"}, "frequency": {"comparison": "COMPARISON_LESS", "value": "3"}}}}
]}}}"""
EVERYONE = '{"root": {"everyone": {}}}'


def make_workspace(live: Run) -> str:
    made = live("workspace", "create", "Shop", "--json")
    assert made.exit_code == 0, made.err
    return str(made.document["workspace_id"])


def make_audience(live: Run, *options: object, name: str = "New") -> dict[str, Any]:
    made = live("audience", "create", name, "--workspace", make_workspace(live), "--definition", "-", "--json", *options, stdin=SEED)
    assert made.exit_code == 0, made.err
    return dict(made.document)


# Whoever is started in the background of a shell ignores Ctrl-C, and so do all that it starts. Told to the command itself: between fork
# and exec there is no place for it, as gRPC's threads do not bear forks.
_WITH_CTRL_C = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); runpy.run_module('cli', run_name='__main__')"
)


async def first_lines(*arguments: str, lines: int) -> list[str]:
    """The first lines of a command that goes on until Ctrl-C, which it then gets and obeys."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _WITH_CTRL_C, *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert running.stdout is not None
    async with asyncio.timeout(30):
        told = [(await running.stdout.readline()).decode() for _ in range(lines)]
        running.send_signal(signal.SIGINT)
        assert await running.wait() == 0
    return told


async def test_data_sent_to_a_new_input_is_seen_in_an_audience(live: Run, installation: Path) -> None:
    workspace = make_workspace(live)
    made = live("input", "create", "Server", "--workspace", workspace, "--feed", "--json").document
    audience = live("audience", "create", "New", "--workspace", workspace, "--definition", "-", "--activate", "--json", stdin=SEED).document
    assert audience["state"] == "AUDIENCE_STATE_ACTIVE"
    known = devfile.read(installation)
    assert known is not None
    event = {"event_type": "first_run", "data": {"timestamp_unixtime_ms": int(datetime.now(UTC).timestamp() * 1000)}}
    batch = {"environment": "production", "user_identities": {"customer_id": "ada"}, "events": [event]}
    async with httpx2.AsyncClient(trust_env=False) as client:

        async def accepted() -> bool:
            key = (made["input"]["api_key"], made["api_secret"])
            answer = await client.post(f"{known.http['ingest']}/v2/events", json=batch, auth=key)
            return bool(answer.status_code == 202)

        await eventually(accepted)
    source = made["input"]["input_id"]
    assert "1 events in 1 batches" in live("input", "show", source).out
    assert live("input", "show", source, "--json").document["statistics"]["types"] == [{"type": "EVENT_TYPE_INSTALL", "events": "1"}]
    assert live("input", "tail", "999999").exit_code == 1
    tail = await first_lines("input", "tail", str(source), lines=5)
    assert "install  customer id ada" in tail[-1]
    number = audience["audience_id"]

    async def counted() -> bool:
        shown = await asyncio.to_thread(live, "audience", "show", number, "--json")
        return bool(shown.document["statistics"]["size"] == "1")

    await eventually(counted)
    members = live("audience", "members", number)
    assert len(members.out.split()) == 1
    assert "1 members" in members.err
    assert live("audience", "members", number, "--json").document["mpids"] == members.out.split()
    explained = live("audience", "explain", "--json", number, "--", members.out.strip())
    assert explained.document["member"] is True
    assert "Leaves on" in explained.document["summary"]
    assert "1 or more in the last 72 hours" in live("audience", "explain", number, "--", members.out.strip()).out
    estimate = live("audience", "estimate", number, "--json").document
    assert (estimate["size"], estimate["candidates"]) == ("1", "1")
    told = live("audience", "estimate", number, "--overlap", number).out
    assert f"also in {number}" in told
    assert [line.split()[0] for line in told.splitlines() if "install" in line or "session" in line] == ["1", "1"]
    history = live("audience", "history", number, "--json").document["points"]
    assert (history[-1]["size"], history[-1]["volatility"]) == ("1", 1.0)
    assert "volatility" not in history[0]
    assert "1.00" in live("audience", "history", number, "--by", "day").out
    (watched,) = await first_lines("audience", "watch", str(number), lines=1)
    assert f"audience {number}: size 1, last 24 h 1 added, 0 dropped" in watched
    listed = live("audience", "list").out
    assert "New" in listed
    assert "active" in listed
    shown = live("audience", "show", number).out
    assert "People who installed in the last 72 hours and had fewer than 3 sessions in the last 30 days that are kept (or none)." in shown
    assert "  installed within 72 hours\n  and sessions < 3\n" in shown
    assert "s of the last hour" in shown


def test_an_audience_is_a_draft_then_active_then_inactive_then_deleted(live: Run) -> None:
    audience = make_audience(live, "--tag", "spring", "--external-name", "newcomers")
    number = audience["audience_id"]
    assert audience["state"] == "AUDIENCE_STATE_DRAFT"
    assert live("audience", "activate", number, "--json").document["state"] == "AUDIENCE_STATE_ACTIVE"
    assert [item["audience_id"] for item in live("audience", "list", "--tag", "spring", "--json").document["audiences"]] == [number]
    assert live("audience", "list", "--tag", "autumn", "--json").document["audiences"] == []
    assert live("audience", "deactivate", number, "--json").document["state"] == "AUDIENCE_STATE_INACTIVE"
    assert live("audience", "delete", number, "--yes", "--json").document["state"] == "AUDIENCE_STATE_DELETED"
    assert live("audience", "list", "--json").document["audiences"] == []
    assert len(live("audience", "list", "--state", "deleted", "--json").document["audiences"]) == 1


def test_an_audience_is_scheduled_archived_and_taken_back(live: Run) -> None:
    audience = make_audience(live)["audience_id"]
    told = live("audience", "schedule", audience, "--activate", "2126-12-01T08:00", "--deactivate", "2126-12-01T10:00+01:00")
    assert told.exit_code == 0, told.err
    assert "2126-12-01 08:00:00 UTC" in told.out
    assert "2126-12-01 09:00:00 UTC" in live("audience", "show", audience).out
    assert live("audience", "schedule", audience, "--activate", "tomorrow").exit_code == 2
    over = live("audience", "schedule", audience, "--activate", "2001-01-01T00:00", "--json")
    assert [(one["field"], one["reason"]) for one in over.fault["violations"]] == [("activate_time_ms", "IN_THE_PAST")]
    away = live("audience", "archive", audience, "--json")
    assert away.document["archive_time_ms"] != "0"
    assert "schedule" not in away.document

    def listed(*options: str) -> list[str]:
        return [one["audience_id"] for one in live("audience", "list", "--json", *options).document["audiences"]]

    assert audience in listed("--archived")
    assert audience not in listed()
    assert live("audience", "activate", audience, "--json").fault["reason"] == "AUDIENCE_ARCHIVED"
    assert live("audience", "unarchive", audience).exit_code == 0
    assert audience in listed()


def test_an_edit_shows_what_it_changes_before_it_is_applied(live: Run) -> None:
    audience = make_audience(live, "--activate")["audience_id"]
    asked = live("audience", "edit", audience, "--text", "installed within 48 hours and sessions < 3", "--dry-run")
    assert asked.exit_code == 0, asked.err
    assert "~ installed in the last 72 hours" in asked.out
    assert "  installed in the last 48 hours" in asked.out
    assert "0 would enter, 0 would leave" in asked.out
    assert live("audience", "edit", audience, "--text", "installed within 48 hours", "--json").exit_code == 2, "nobody was asked"
    cycle = live("audience", "edit", audience, "--text", f"member of {audience}", "--dry-run", "--json")
    assert (cycle.exit_code, [one["reason"] for one in cycle.fault["violations"]]) == (2, ["CYCLE"])
    text = "installed within 48 hours and sessions < 3"
    done = live("audience", "edit", audience, "--text", text, "--note", "too wide", "--yes", "--name", "Narrower", "--json")
    assert (done.document["revision"], done.document["name"]) == ("2", "Narrower")
    assert "too wide" in live("audience", "revisions", audience).out
    differs = live("audience", "diff", audience)
    assert (differs.exit_code, "installed in the last 48 hours" in differs.out) == (1, True)
    assert live("audience", "diff", audience, "--from", 2).exit_code == 0
    assert live("audience", "restore", audience, 1, "--json").document["revision"] == "3"
    assert "Both mean the same." in live("audience", "diff", audience, "--from", 1).out
    assert live("audience", "clone", audience, "--name", "Twin", "--json").document["state"] == "AUDIENCE_STATE_DRAFT"
    assert live("audience", "edit", audience).exit_code == 2


def test_changes_are_listed_exported_and_verified(live: Run, tmp_path: Path) -> None:
    audience = make_audience(live)["audience_id"]
    assert live("audience", "edit", audience, "--name", "Renamed").exit_code == 0
    listed = live("audit", "list", "--kind", "audience", "--id", audience, "--json").document["entries"]
    assert [one["after"]["name"] for one in listed] == ["Renamed", "New"]
    assert "UpdateAudience" in live("audit", "list", "--kind", "audience", "--id", audience).out
    assert live("audit", "verify", "--service", "forwarder").exit_code == 0
    assert live("audit", "list", "--service", "console").exit_code == 2
    file = tmp_path / "log.ndjson"
    assert live("audit", "export", file).exit_code == 0
    held = live("audit", "verify", file, "--json")
    assert held.document["holds"]
    head = f"{held.document['number']}:{held.document['hash']}"
    assert live("audit", "verify", "--head", head).exit_code == 0
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:1] + lines[2:]))
    broken = live("audit", "verify", file)
    assert (broken.exit_code, "2 is missing" in broken.err) == (1, True)
    file.write_text(lines[0].replace('"actor":"', '"actor":"x'))
    assert "altered" in live("audit", "verify", file).err
    assert live("audit", "verify", "--head", f"1:{'0' * 64}").exit_code == 1
    assert live("audit", "verify", "--head", "x").exit_code == 2
    file.write_text("nonsense")
    assert live("audit", "verify", file).exit_code == 2


def test_what_uses_an_audience_is_shown_and_ends_with_it(live: Run) -> None:
    inner = make_audience(live)["audience_id"]
    reads = json.dumps({"root": {"criterion": {"member_of": {"audience_id": inner}}}})
    workspace = make_workspace(live)
    outer = live("audience", "create", "Outer", "--workspace", workspace, "--definition", "-", "--json", stdin=reads).document[
        "audience_id"
    ]
    assert live("test", "create", inner, "--variation", "Blue=20").exit_code == 0
    shown = live("audience", "uses", inner)
    assert "Outer" in shown.out
    assert f"of the audience {inner}" in shown.out
    kept = live("audience", "delete", inner, "--yes", "--json")
    assert (kept.exit_code, kept.fault["reason"]) == (1, "AUDIENCE_IN_USE")
    gone = live("audience", "delete", inner, "--cascade", "--yes")
    assert gone.exit_code == 0, gone.err
    assert "Outer" in gone.out
    assert live("audience", "show", outer, "--json").document["state"] == "AUDIENCE_STATE_DELETED"
    assert "Nothing" in live("audience", "uses", inner).out


def test_deleting_without_a_person_to_ask_needs_yes(live: Run) -> None:
    number = make_audience(live)["audience_id"]
    refused = live("audience", "delete", number, "--json")
    assert refused.exit_code == 2
    assert "--yes" in refused.fault["hint"]
    assert live("audience", "show", number).exit_code == 0


def test_a_connection_is_made_listed_paused_resumed_and_deleted(live: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sixteen characters or more\n")
    audience = make_audience(live, "--activate")["audience_id"]
    assert "webhook" in live("integration", "list").out
    made = live(
        *("configuration", "create", "Ours", "--integration", "webhook", "--setting", "url=http://127.0.0.1:9/hook"),
        *("--setting", f"secret=@{secret}", "--json"),
    )
    assert made.exit_code == 0, made.err
    assert "sixteen" not in made.out
    configuration = made.document["configuration_id"]
    assert "Ours" in live("configuration", "list").out

    made_connections: list[Result] = []

    def connect() -> bool:
        made_connections.append(live("connection", "create", "--audience", audience, "--configuration", configuration, "--json"))
        return made_connections[-1].exit_code == 0

    # The forwarder follows the definitions, and may be a moment behind.
    asyncio.run(eventually(connect))
    number = made_connections[-1].document["connection_id"]
    assert live("connection", "pause", number, "--json").document["state"] == "CONNECTION_STATE_PAUSED"
    assert [item["connection_id"] for item in live("connection", "list", "--state", "paused", "--json").document["connections"]] == [number]
    assert "paused" in live("connection", "show", number).out
    assert live("connection", "resume", number, "--json").document["state"] == "CONNECTION_STATE_SENDING"
    assert live("connection", "delete", number, "--yes").exit_code == 0
    assert live("connection", "list", "--json").document["connections"] == []


def test_an_audience_is_split_and_the_result_is_told(live: Run) -> None:
    audience = make_audience(live, "--activate")["audience_id"]
    made = live("test", "create", audience, "--variation", "Blue=20", "--variation", "Red=30", "--json")
    assert made.exit_code == 0, made.err
    assert [(one["name"], one["percentage"]) for one in made.document["variations"]] == [("Blue", 20), ("Red", 30)]
    shown = live("test", "show", audience)
    assert shown.exit_code == 0
    assert "Control" in shown.out
    assert "50%" in shown.out

    async def told() -> bool:
        return live("test", "result", audience, "--goal", "commerce:purchase").exit_code == 0

    asyncio.run(eventually(told))
    result = live("test", "result", audience, "--goal", "commerce:purchase", "--json")
    assert [one["name"] for one in result.document["variations"]] == ["Blue", "Red", "Control"]
    assert live("test", "result", audience, "--goal", "comerce").exit_code == 2
    over = live("test", "create", audience, "--variation", "Blue=20", "--json")
    assert (over.exit_code, over.fault["reason"]) == (1, "AB_TEST_EXISTS")
    assert live("test", "delete", audience).exit_code == 0
    wrong = live("test", "create", audience, "--variation", "Blue=60", "--variation", "Red=60", "--json")
    assert (wrong.exit_code, [one["reason"] for one in wrong.fault["violations"]]) == (2, ["OVER_100_PERCENT"])
    assert live("test", "create", audience, "--variation", "Blue").exit_code == 2


def test_inputs_and_workspaces_are_listed(live: Run) -> None:
    workspace = make_workspace(live)
    made = live("input", "create", "iPhone", "--workspace", workspace, "--platform", "ios")
    assert "API secret" in made.out
    assert "can't be shown again" in made.err
    listed = live("input", "list", "--json").document["inputs"]
    assert [(item["name"], item["platform"]) for item in listed] == [("iPhone", "PLATFORM_IOS")]
    assert "Shop" in live("workspace", "list").out
    assert live("account", "show", "--json").document["name"] == "Test"


def test_the_key_of_an_input_may_send_alone_if_it_is_told_so(live: Run) -> None:
    workspace = make_workspace(live)
    made = live("input", "create", "Site", "--workspace", workspace, "--platform", "web", "--segment")
    assert "write key" in made.out
    other = live("input", "create", "Server", "--workspace", workspace, "--feed", "--json").document["input"]
    assert not other["allow_key_only"]
    changed = live("input", "update", other["input_id"], "--segment", "--name", "Shop server", "--json").document
    assert (changed["allow_key_only"], changed["name"]) == (True, "Shop server")
    assert "write key" not in live("input", "update", other["input_id"], "--no-segment").out
    limited = live("input", "update", other["input_id"], "--events-per-second", "2000", "--events-per-day", "0")
    assert "2,000 events a second" in limited.out
    assert "a day" not in limited.out
    missing = live("input", "update", "999999", "--segment")
    assert (missing.exit_code, "no input 999999" in missing.err) == (2, True)


def test_the_type_of_an_attribute_is_set_listed_and_removed(live: Run) -> None:
    workspace = make_workspace(live)
    assert live("workspace", "types", "set", workspace, "zip", "string", "--json").exit_code == 0
    assert "list" in live("workspace", "types", "set", workspace, "sizes", "list", "--event").out
    listed = live("workspace", "types", "list", workspace, "--json").document["attribute_overrides"]
    assert [(item["kind"], item["attribute"], item["type"]) for item in listed] == [
        ("ATTRIBUTE_KIND_USER", "zip", "ATTRIBUTE_TYPE_STRING"),
        ("ATTRIBUTE_KIND_EVENT", "sizes", "ATTRIBUTE_TYPE_LIST"),
    ]
    assert "zip" not in live("workspace", "types", "remove", workspace, "zip").out
    assert "None" in live("workspace", "types", "remove", workspace, "sizes", "--event").out


def test_status_says_that_all_services_serve(live: Run) -> None:
    status = live("status", "--json")
    assert status.exit_code == 0, status.err
    assert {item["service"]: item["state"] for item in status.document["services"]} == dict.fromkeys(
        ["nats", "definition", "ingest", "evaluator", "forwarder", "sharing", "export", "console"], "serving"
    )


def test_a_definition_with_faults_names_each_place_and_exits_with_2(live: Run) -> None:
    workspace = make_workspace(live)
    empty = json.dumps({"root": {"all": {"nodes": []}}})
    refused = live("audience", "create", "Empty", "--workspace", workspace, "--definition", "-", "--json", stdin=empty)
    assert refused.exit_code == 2
    assert refused.out == ""
    [violation] = refused.fault["violations"]
    assert violation["field"].startswith("audience.definition.root") or violation["field"].startswith("definition.root")
    assert violation["reason"] == "EMPTY_GROUP"
    told = live("audience", "create", "Empty", "--workspace", workspace, "--definition", "-", stdin=empty).err
    assert violation["field"] in told
    assert "Traceback" not in told


def test_an_audience_is_made_from_a_text_and_shown_as_one(live: Run) -> None:
    workspace = make_workspace(live)
    text = 'installed within 72 hours and (sessions < 3 or plan = "[gold]")'
    made = live("audience", "create", "New", "--workspace", workspace, "--text", text, "--json")
    assert made.exit_code == 0, made.err
    shown = live("audience", "show", made.document["audience_id"], "--json").document
    assert shown["text"] == 'installed within 72 hours\nand (sessions < 3 or plan = "[gold]")'
    assert shown["sentence"].startswith("People who installed in the last 72 hours and (had fewer than 3 sessions")
    assert 'plan = "[gold]"' in live("audience", "show", made.document["audience_id"]).out
    again = live("audience", "create", "Again", "--workspace", workspace, "--text", "-", "--json", stdin=shown["text"])
    assert live("audience", "show", again.document["audience_id"], "--json").document["text"] == shown["text"]
    estimate = live("audience", "estimate", "--text", "sessions < 3 and not crash", "--workspace", workspace)
    assert estimate.exit_code == 0, estimate.err
    assert [line.strip().lstrip("0123456789, ").partition(" in the last")[0] for line in estimate.out.splitlines()[-4:]] == [
        "all of these:",
        "had fewer than 3 sessions",
        "are not among those who:",
        "had a crash",
    ]


def test_a_text_with_faults_is_shown_with_each_place_marked(live: Run) -> None:
    workspace = make_workspace(live)
    text = "installed within 72 hors\nor sesions < 3"
    refused = live("audience", "create", "New", "--workspace", workspace, "--text", text)
    assert refused.exit_code == 2
    assert refused.out == ""
    assert refused.err.splitlines()[:7] == [
        "muster: The text of the definition has faults.",
        "  installed within 72 hors",
        "                      ^^^^",
        "  `hors` is not understood here; did you mean `hours`?",
        "  or sesions < 3",
        "     ^^^^^^^",
        '  `sesions` is not understood here; did you mean `sessions`? An attribute of this name is written in quotes, "sesions".',
    ]
    as_json = live("audience", "estimate", "--workspace", workspace, "--text", text, "--json")
    assert [violation["field"] for violation in as_json.fault["violations"]] == ["text:1:21", "text:2:4"]
    of_the_account = live("audience", "create", "New", "--workspace", workspace, "--text", "member of 999999")
    assert of_the_account.err.splitlines()[1:4] == [
        "  member of 999999",
        "  ^^^^^^^^^^^^^^^^",
        "  There is no audience 999999 in this account.",
    ]


def test_a_name_that_is_too_long_exits_with_2(live: Run) -> None:
    refused = live("workspace", "create", "n" * 101, "--json")
    assert (refused.exit_code, refused.fault["code"]) == (2, "INVALID_ARGUMENT")
    assert refused.fault["violations"][0]["field"] == "name"


@pytest.mark.parametrize(
    "arguments", [("audience", "show", 999_999), ("audience", "activate", 999_999), ("connection", "resume", 999_999)], ids=str
)
def test_a_thing_that_is_not_there_exits_with_1(live: Run, arguments: tuple[object, ...]) -> None:
    refused = live(*arguments, "--json")
    assert (refused.exit_code, refused.fault["code"]) == (1, "NOT_FOUND")


def test_one_account_does_not_see_what_another_has(live: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    number = make_audience(live)["audience_id"]
    monkeypatch.setenv("MUSTER_ACCOUNT", live("account", "create", "Other", "--json").document["account_id"])
    assert live("audience", "show", number).exit_code == 1
    assert live("audience", "list", "--json").document["audiences"] == []


async def test_dead_letters_are_listed_with_their_reason_and_replayed(live: Run, installation: Path) -> None:
    known = devfile.read(installation)
    assert known is not None
    bus = Bus(known.nats_url, name="test")
    await bus.start()
    headers = {"Muster-Dead-Subject": "muster.shares.1", "Muster-Dead-Stream": "SHARES", "Muster-Dead-Reason": "from the future"}
    await bus.publish("muster.deadletters.sharing", b"body", message_id="a dead letter", headers=headers)
    await bus.stop()

    async def run(*arguments: object) -> Result:
        return await asyncio.to_thread(live, *arguments)

    listed = (await run("deadletters", "list", "--service", "sharing", "--json")).document["dead_letters"]
    assert [(letter["service"], letter["reason"]) for letter in listed] == [("sharing", "from the future")]
    assert "from the future" in (await run("deadletters", "list")).out
    replayed = await run("deadletters", "replay", "--service", "sharing", listed[0]["sequence"], "--json")
    assert (replayed.exit_code, replayed.document["replayed"]) == (0, 1)
    assert (await run("deadletters", "list", "--service", "sharing", "--json")).document["dead_letters"] == []
    again = await run("deadletters", "replay", "--service", "sharing", listed[0]["sequence"])
    assert again.exit_code == 1


def test_a_minted_token_is_taken_in_place_of_the_secret(live: Run, installation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minted = live("token", "mint", "--subject", "ada", "--role", "analyst", "--ttl", "30m", "--json").document
    known = devfile.read(installation)
    assert known is not None
    caller = auth.verify(known.token_secret, minted["token"], datetime.now(UTC))
    assert (str(caller.account_id), caller.subject, caller.roles) == (minted["account_id"], "ada", frozenset({"analyst"}))
    monkeypatch.setenv("MUSTER_TOKEN", minted["token"])
    monkeypatch.delenv("MUSTER_ACCOUNT")
    assert live("account", "show", "--json").document["account_id"] == minted["account_id"]


async def test_people_who_became_one_are_found_and_parted(live: Run, installation: Path) -> None:
    workspace = make_workspace(live)
    made = live("input", "create", "Server", "--workspace", workspace, "--feed", "--json").document
    known = devfile.read(installation)
    assert known is not None
    key = (made["input"]["api_key"], made["api_secret"])
    url = f"{known.http['ingest']}/v2/events"
    sent: list[dict[str, Any]] = [
        {"user_identities": {"customer_id": "grace"}},
        {"device_info": {"ios_idfv": "phone"}},
        {"user_identities": {"customer_id": "grace"}, "device_info": {"ios_idfv": "phone"}},
    ]
    async with httpx2.AsyncClient(trust_env=False) as client:
        for who in sent:
            batch = {"environment": "production", **who}

            async def accepted(batch: dict[str, Any] = batch) -> bool:
                return (await client.post(url, json=batch, auth=key)).status_code == 202

            await eventually(accepted)
    found = live("person", "find", "customer-id", "grace")
    assert found.exit_code == 0, found.err
    assert [line.split() for line in found.out.splitlines()][1:] == [["customer-id", "grace"], ["ios-vendor-id", "phone"]]
    mpid = found.out.split()[1]
    assert live("person", "show", "--", mpid).out == found.out
    (merge,) = live("person", "merges", "--mpid", mpid, "--json").document["merges"]
    assert (merge["into_mpid"], merge["type"]) == (mpid, "IDENTITY_TYPE_IOS_VENDOR_ID")
    parted = live("person", "part", merge["merge_id"])
    assert "phone" in parted.out
    assert "grace" not in parted.out
    assert "parted" in live("person", "merges", "--limit", 1).out
    assert "grace" in live("person", "find", "customer-id", "grace").out
    missing = live("person", "find", "email", "nobody@example.com")
    assert (missing.exit_code, "Nobody has" in missing.err) == (1, True)
    assert live("person", "find", "mail", "nobody@example.com").exit_code == 2


def test_an_account_gets_rules_of_who_is_who(live: Run) -> None:
    assert "usual rules" in live("account", "identities").err
    changed = live("account", "identities", "--rule", "customer-id:1", "--rule", "email:2:moves", "--rule", "alias", "--keep-apart")
    assert changed.exit_code == 0, changed.err
    assert [line.split() for line in changed.out.splitlines()][1:] == [
        ["customer-id", "1"],
        ["email", "2", "yes"],
        ["alias", "any", "number"],
    ]
    shown = live("account", "identities", "--json").document["identity_rules"]
    assert (len(shown["rules"]), shown["keep_apart"]) == (3, True)
    assert live("account", "identities", "--rule", "email:many").exit_code == 2
    assert live("account", "identities", "--rule", "email", "--rule", "email").exit_code == 2
    assert "usual rules" in live("account", "identities", "--usual").err


async def test_a_person_is_exported_and_erased_everywhere(live: Run, installation: Path, tmp_path: Path) -> None:
    workspace = make_workspace(live)
    made = live("input", "create", "Server", "--workspace", workspace, "--feed", "--json").document
    audience = live(
        "audience", "create", "All", "--workspace", workspace, "--definition", "-", "--activate", "--json", stdin=EVERYONE
    ).document
    known = devfile.read(installation)
    assert known is not None
    url, key = f"{known.http['ingest']}/v2/events", (made["input"]["api_key"], made["api_secret"])
    event = {
        "event_type": "custom_event",
        "data": {"event_name": "Viewed", "custom_event_type": "other", "custom_attributes": {"price": 19.90}},
    }
    who = {"user_identities": {"customer_id": "hedy", "email": "hedy@example.com"}, "user_attributes": {"plan": "gold"}}
    async with httpx2.AsyncClient(trust_env=False) as client:

        async def accepted() -> bool:
            return (await client.post(url, json={"environment": "production", "events": [event], **who}, auth=key)).status_code == 202

        await eventually(accepted)
    mpid = live("person", "find", "customer-id", "hedy", "--json").document["mpid"]
    number = audience["audience_id"]

    async def counted() -> bool:
        return (await asyncio.to_thread(live, "audience", "members", number)).out.split() == [mpid]

    await eventually(counted)
    target = tmp_path / "hedy.json"
    assert live("person", "export", "-o", target, "--", mpid).exit_code == 0
    document = json.loads(target.read_text())
    assert document["mpid"] == mpid
    assert [(one["type"], one["value"]) for one in document["identities"]] == [("customer_id", "hedy"), ("email", "hedy@example.com")]
    assert document["audience_ids"] == [number]
    assert [(one["type"], one["name"], one["attributes"]) for one in document["events"]] == [("custom", "Viewed", {"price": 19.9})]
    assert {"plan": {"string_value": "gold"}} in [one.get("set_attributes") for one in document["changes"]]
    assert json.loads(live("person", "export", "--", mpid).out)["events"] == document["events"]

    assert live("person", "erase").exit_code == 2
    assert live("person", "erase", "--identity", "email", "hedy@example.com", stdin="n\n").exit_code == 1
    erased = live("person", "erase", "--identity", "email", "hedy@example.com", "--yes", "--json")
    assert erased.exit_code == 0, erased.err
    (erasure,) = erased.document["erasures"]
    assert (erasure["mpid"], erasure["state"]) == (mpid, "ERASURE_STATE_FINISHED")
    assert {receipt["service"]: receipt["removed"] for receipt in erasure["receipts"]} == {
        "ingest": "2",
        "evaluator": "4",
        "forwarder": "0",
    }
    assert live("person", "export", "--", mpid).exit_code == 1
    assert live("audience", "members", number).out == ""
    assert "hedy" not in live("person", "erasures").out
    logs = await asyncio.to_thread(lambda: [path.read_text(errors="replace") for path in installation.rglob("*.log")])
    assert logs
    assert not any("hedy" in log for log in logs)


async def test_what_has_arrived_is_in_the_catalogue_and_can_be_described(live: Run, installation: Path) -> None:
    workspace = make_workspace(live)
    made = live("input", "create", "Server", "--workspace", workspace, "--feed", "--json").document
    known = devfile.read(installation)
    assert known is not None
    event = {"event_type": "custom_event", "data": {"event_name": "Buy", "custom_attributes": {"plan": "gold"}}}
    people = [
        {
            "environment": "production",
            "user_identities": {"customer_id": f"c{number}"},
            "user_attributes": {"city": "Bonn"},
            "events": [event],
        }
        for number in range(20)
    ]
    async with httpx2.AsyncClient(trust_env=False) as client:

        async def accepted() -> bool:
            key = (made["input"]["api_key"], made["api_secret"])
            answer = await client.post(f"{known.http['ingest']}/v2/bulkevents", json=people, auth=key)
            return bool(answer.status_code == 202)

        await eventually(accepted)

    async def arrived() -> bool:
        shown = await asyncio.to_thread(live, "catalogue", "values", workspace, "city", "--of", "user", "--json")
        return [one["value"] for one in shown.document["values"]] == ["Bonn"]

    await eventually(arrived)
    assert live("catalogue", "events", workspace, "--search", "bu").out.split().count("Buy") == 1
    assert "string" in live("catalogue", "attributes", workspace, "--event", "Buy").out
    assert live("catalogue", "values", workspace, "plan").out.split() == ["value", "count", "too", "high", "by", "at", "most", "gold", "20"]
    assert live("catalogue", "attributes", workspace, "--of", "user", "--event", "Buy").exit_code == 2
    assert live("catalogue", "events", workspace, "--type", "nothing").exit_code == 2
    said = live("catalogue", "describe", workspace, "Buy", "--description", "A purchase.", "--deprecated", "--note", "Use commerce.")
    assert "yes: Use commerce." in said.out
    [name] = live("catalogue", "events", workspace, "--json").document["event_names"]
    assert (name["name"], name["entry"]["description"], name["entry"]["deprecated"]) == ("Buy", "A purchase.", True)
    assert live("catalogue", "describe", workspace, "Sell", "--description", "x", "--json").exit_code == 1

    tree = """{"root": {"criterion": {"event": {"match": {"type": "EVENT_TYPE_CUSTOM", "name": "%s"}}}}}"""
    warned = live("audience", "validate", "--definition", "-", "--workspace", workspace, "--json", stdin=tree % "buy")
    assert (warned.exit_code, warned.document["warnings"][0]["reason"]) == (0, "UNKNOWN_NAME")
    assert "warning" in live("audience", "validate", "--definition", "-", "--workspace", workspace, stdin=tree % "Buy").out
    told = live("audience", "validate", "--definition", "-", "--workspace", workspace, stdin=EVERYONE)
    assert (told.exit_code, told.out) == (0, "Nothing is wrong with it.\n")
    faulty = live("audience", "validate", "--definition", "-", "--workspace", workspace, "--json", stdin='{"root": {"all": {}}}')
    assert (faulty.exit_code, faulty.document["faults"][0]["reason"]) == (2, "EMPTY_GROUP")
