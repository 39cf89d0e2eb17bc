"""The platform API against real services: each route once, each kind of failure, and the accounts apart."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

from services.console.rest import openapi
from services.console.rest.rules import rules_of
from services.console.rest.transcoder import BODY_MAX_BYTES
from tests.console.conftest import SEED, Account, Platform
from tests.fakes.waiting import eventually

PROTOS = Path(__file__).resolve().parents[2] / "protos"
NOBODY = 987_654_321
WEBHOOK: dict[str, Any] = {
    "integration_key": "webhook",
    "name": "Partner",
    "settings": {"url": "https://partner.example.com/hook", "secret": "a secret that both sides know"},
}


def fault(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The body of a failure, which has all its keys."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = dict(answer.json())
    assert set(body) == {"code", "message", "reason", "metadata", "details"}
    return body


def details(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(detail["field"], detail["reason"]) for detail in body["details"]]


def annotated() -> list[MethodDescriptor]:
    """Every method of every contract that has a rule."""
    found = []
    for path in sorted(PROTOS.glob("muster/*/v1/*.proto")):
        file = importlib.import_module(".".join(path.relative_to(PROTOS).with_suffix("").parts) + "_pb2").DESCRIPTOR
        for service in file.services_by_name.values():
            found += [method for method in service.methods if method.GetOptions().HasExtension(annotations_pb2.http)]
    return found


def test_every_annotated_method_is_served_and_in_the_document() -> None:
    methods = {method.full_name for method in annotated()}
    assert methods == {rule.method.full_name for rule in rules_of()}
    document = yaml.safe_load(openapi.FILE.read_text())
    operations = [operation["operationId"] for verbs in document["paths"].values() for operation in verbs.values()]
    assert sorted(operations) == sorted(name.rpartition(".")[2] for name in methods)
    assert len(set(operations)) == len(operations)


async def test_an_audience_lives_its_life_over_http(account: Account) -> None:
    workspace = account.workspace()
    made = account("POST", "/audiences", {"name": "New", "workspace_ids": [workspace], "definition": SEED, "tags": ["vip"]})
    assert made.status_code == 200, made.text
    audience = made.json()
    number, path = audience["audience_id"], f"/audiences/{audience['audience_id']}"
    assert audience["state"] == "AUDIENCE_STATE_DRAFT"
    assert made.headers["etag"] == f'"{audience["etag"]}"'
    assert account.done("GET", path) == audience
    listed = account.done("GET", "/audiences", params={"tags": ["vip"], "states": "AUDIENCE_STATE_DRAFT", "order_by": "name asc"})
    assert [one["audience_id"] for one in listed["audiences"]] == [number]
    assert account.done("GET", "/audiences", params={"tags": ["vip", "other"]})["audiences"] == []
    assert [row["name"] for row in account.done("GET", "/audience-rows", params={"tested": "FILTER_NO"})["rows"]] == ["New"]
    assert account.done("GET", f"{path}/uses", params={"cascade": "true"})["audiences"] == []
    edited = account("PATCH", path, {"name": "Newer"}, headers={"if-match": made.headers["etag"]}, params={"note": "why"})
    assert edited.json()["name"] == "Newer"
    cleared = account("PATCH", path, {"etag": edited.json()["etag"]}, params={"update_mask": "tags,description"}).json()
    assert (cleared["tags"], cleared["name"]) == ([], "Newer")
    everyone: dict[str, Any] = {"root": {"everyone": {}}}
    changed = account.done("PATCH", path, {"definition": everyone, "etag": cleared["etag"]})
    assert changed["revision"] == "2"
    revisions = account.done("GET", f"{path}/revisions")["revisions"]
    assert [revision["revision"] for revision in revisions] == ["2", "1"]
    compared = account.done("POST", f"{path}/revisions:compare", {"from_revision": "1", "to_revision": 2})
    assert (compared["same"], bool(compared["differences"])) == (False, True)
    restored = account.done("POST", f"{path}/revisions/1:restore", {"etag": changed["etag"]})
    assert restored["revision"] == "3"
    assert account.done("POST", f"{path}:activate")["state"] == "AUDIENCE_STATE_ACTIVE"

    async def live() -> bool:
        answer = account("GET", f"{path}/statistics")
        return answer.status_code == 200 and answer.json()["state"] == "POPULATION_STATE_LIVE"

    await eventually(live, within_seconds=20)
    assert [one["audience_id"] for one in account.done("GET", "/statistics", params={"audience_ids": number})["statistics"]] == [number]
    assert account.done("GET", f"{path}/history", params={"step": "HISTORY_STEP_DAY"})["points"]
    assert fault(account("GET", f"{path}/members/-5:explain"), 404)["reason"] == "PROFILE_NOT_FOUND"
    members = account("GET", f"{path}/members")
    assert members.headers["content-type"] == "application/x-ndjson"
    assert json.loads(members.text.splitlines()[0])["header"]["size"] == "0"
    with account.http.stream("GET", "/statistics:watch", params={"audience_ids": number}) as watched:
        assert json.loads(next(watched.iter_lines()))["statistics"][0]["audience_id"] == number
    test = account.done("POST", f"{path}/ab-test", {"name": "T", "variations": [{"name": "A", "percentage": 50}]})
    assert account.done("GET", f"{path}/ab-test")["ab_test_id"] == test["ab_test_id"]

    async def tested() -> bool:
        return account("POST", f"{path}/ab-test:result", {}).status_code == 200

    await eventually(tested, within_seconds=20)
    assert account.done("DELETE", f"/ab-tests/{test['ab_test_id']}", params={"etag": test["etag"]})["ab_test_id"] == test["ab_test_id"]
    clone = account.done("POST", f"{path}:clone", {"name": "Copy"}, headers={"idempotency-key": "once"})
    assert account.done("POST", f"{path}:clone", {"name": "Copy"}, headers={"idempotency-key": "once"}) == clone
    assert account.done("POST", f"{path}:deactivate")["state"] == "AUDIENCE_STATE_INACTIVE"
    for verb in ("archive", "unarchive"):
        assert account.done("POST", f"{path}:{verb}")["audience_id"] == number
    scheduled = account("POST", f"{path}:schedule", {})
    assert scheduled.status_code in (200, 400), scheduled.text
    assert account.done("DELETE", path)["state"] == "AUDIENCE_STATE_DELETED"


async def test_definitions_are_judged_estimated_and_carried(account: Account) -> None:
    workspace = account.workspace()
    judged = account.done("POST", "/definitions:validate", {"definition": {"root": {"all": {}}}, "workspace_ids": [workspace]})
    assert [found["reason"] for found in judged["faults"]] == ["EMPTY_GROUP"]
    tree = {"root": {"id": "n", "everyone": {}}}

    async def estimated() -> bool:
        # The evaluator follows the definitions, and may be a moment behind.
        answer = account("POST", "/definitions:estimate", {"definition": tree, "workspace_ids": [workspace]})
        return answer.status_code == 200 and answer.json()["size"] == "0"

    await eventually(estimated)
    described = account.done("POST", "/definitions:describe", {"definition": tree, "workspace_ids": [workspace]})
    assert described["phrases"][0]["node_id"] == "n"
    text = account.done("POST", "/definitions:print", {"definition": tree})["text"]
    assert "everyone" in account.done("POST", "/definitions:parse", {"text": text})["definition"]["root"]
    out = account.done("POST", "/definitions:export", {"definition": tree})
    back = account.done("POST", "/definitions:import", {"json_text": out["json_text"], "workspace_ids": [workspace]})
    assert "everyone" in back["definition"]["root"]


def test_an_account_its_workspaces_and_its_inputs(account: Account) -> None:
    mine = account.done("GET", "/account")
    assert mine["account_id"] == str(account.account_id)
    assert account.done("PATCH", "/account", {"name": "Better", "etag": mine["etag"]})["name"] == "Better"
    workspace = account.workspace()
    assert [one["workspace_id"] for one in account.done("GET", "/workspaces")["workspaces"]] == [workspace]
    override = {"kind": "ATTRIBUTE_KIND_USER", "attribute": "age", "type": "ATTRIBUTE_TYPE_NUMBER"}
    path = f"/workspaces/{workspace}/attribute-overrides"
    account.done("POST", path, {"attribute_override": override})
    assert [one["attribute"] for one in account.done("GET", path)["attribute_overrides"]] == ["age"]
    account.done("POST", f"{path}:remove", {"kind": "ATTRIBUTE_KIND_USER", "attribute": "age"})
    assert account.done("GET", path)["attribute_overrides"] == []
    made = account.done("POST", f"/workspaces/{workspace}/inputs", {"name": "Server", "kind": "INPUT_KIND_FEED"})
    assert made["api_secret"]
    input_id = made["input"]["input_id"]
    assert [one["input_id"] for one in account.done("GET", "/inputs", params={"workspace_id": workspace})["inputs"]] == [input_id]
    renamed = account.done("PATCH", f"/inputs/{input_id}", {"name": "Feed", "etag": made["input"]["etag"]})
    assert renamed["name"] == "Feed"
    assert account.done("POST", f"/inputs/{input_id}:rotate-key", {})["api_secret"] != made["api_secret"]
    assert account.done("POST", f"/inputs/{input_id}:deactivate")["state"] == "INPUT_STATE_INACTIVE"


async def test_configurations_and_connections(account: Account) -> None:
    integrations = {one["integration_key"]: one for one in account.done("GET", "/integrations")["integrations"]}
    assert "webhook" in integrations
    made = account("POST", "/configurations", WEBHOOK, headers={"idempotency-key": "once"})
    assert made.status_code == 200, made.text
    configuration = made.json()["configuration_id"]
    assert account.done("POST", "/configurations", WEBHOOK, headers={"idempotency-key": "once"})["configuration_id"] == configuration
    path = f"/configurations/{configuration}"
    read = account("GET", path)
    assert read.headers["etag"] == made.headers["etag"]
    assert [one["configuration_id"] for one in account.done("GET", "/configurations")["configurations"]] == [configuration]
    renamed = account("PATCH", path, {"name": "Partner 2"}, headers={"if-match": read.headers["etag"]})
    assert renamed.status_code == 200, renamed.text
    assert renamed.json()["name"] == "Partner 2"
    tried = account.done(
        "POST", "/configurations:test", {"integration_key": "webhook", "settings": {**WEBHOOK["settings"], "url": "http://127.0.0.1:9/"}}
    )
    assert tried["works"] is False
    audience = account.audience()
    account.done("POST", f"/audiences/{audience['audience_id']}:activate")

    async def connected() -> bool:
        # The forwarder follows the definitions, and may be a moment behind.
        answer = account("POST", "/connections", {"audience_id": audience["audience_id"], "configuration_id": configuration})
        return answer.status_code == 200

    await eventually(connected, within_seconds=20)
    (connection,) = account.done("GET", "/connections", params={"audience_id": audience["audience_id"]})["connections"]
    path = f"/connections/{connection['connection_id']}"
    assert account.done("GET", path)["configuration_id"] == configuration
    assert account.done("POST", f"{path}:pause", {})["state"] == "CONNECTION_STATE_PAUSED"
    assert account.done("POST", f"{path}:resume", {})["state"] == "CONNECTION_STATE_SENDING"
    assert account.done("POST", f"{path}:reconcile", {})["connection_id"] == connection["connection_id"]
    assert account.done("POST", f"/configurations/{configuration}:resume", {})["connections"] == []
    assert "deliveries" in account.done("GET", f"{path}/deliveries")
    assert account.done("GET", f"{path}/rejected-records")["records"] == []
    assert account.done("POST", f"{path}/rejected-records:retry", {})["retried"] == "0"
    bulk = account.done("POST", "/connections:bulk-create", {"audience_ids": [NOBODY], "configuration_id": configuration})
    assert [one["audience_id"] for one in bulk["faults"]] == [str(NOBODY)]
    in_use = fault(account("DELETE", f"/configurations/{configuration}"), 400)
    assert in_use["code"] == "FAILED_PRECONDITION"
    assert account.done("DELETE", path)["state"] == "CONNECTION_STATE_DELETED"


def test_another_account_s_things_are_as_those_that_are_not_there(platform: Platform, account: Account) -> None:
    audience = account.audience()["audience_id"]
    configuration = account.done("POST", "/configurations", WEBHOOK)["configuration_id"]
    workspace = account.workspace()
    other = platform.account("Other")
    calls: list[tuple[str, str, str, Any]] = [
        ("GET", "/audiences/#", audience, None),
        ("PATCH", "/audiences/#", audience, {"name": "Mine", "etag": "1"}),
        ("DELETE", "/audiences/#", audience, None),
        *[("POST", f"/audiences/#:{verb}", audience, {}) for verb in ("activate", "deactivate", "archive", "unarchive", "clone")],
        ("GET", "/audiences/#/revisions", audience, None),
        ("POST", "/audiences/#/revisions/1:restore", audience, {}),
        ("POST", "/audiences/#/revisions:compare", audience, {}),
        ("GET", "/audiences/#/statistics", audience, None),
        ("GET", "/audiences/#/history?step=HISTORY_STEP_DAY", audience, None),
        ("GET", "/audiences/#/members", audience, None),
        ("GET", "/audiences/#/members/1:explain", audience, None),
        ("GET", "/audiences/#/ab-test", audience, None),
        ("GET", "/audiences/#/uses", audience, None),
        ("POST", "/definitions:export", audience, {"audience_id": "#"}),
        ("GET", "/configurations/#", configuration, None),
        ("PATCH", "/configurations/#", configuration, {"name": "Mine", "etag": "1"}),
        ("DELETE", "/configurations/#", configuration, None),
        ("POST", "/configurations/#:resume", configuration, {}),
        ("GET", "/workspaces/#/attribute-overrides", workspace, None),
        ("POST", "/workspaces/#/inputs", workspace, {"name": "Server", "kind": "INPUT_KIND_FEED"}),
    ]
    for verb, path, theirs, body in calls:

        def told(number: str, verb: str = verb, path: str = path, body: Any = body) -> tuple[int, str]:
            wanted = None if body is None else json.loads(json.dumps(body).replace("#", number))
            answer = other(verb, path.replace("#", number), wanted)
            return answer.status_code, answer.text.replace(number, "#")

        assert told(theirs)[0] == 404, (verb, path, told(theirs))
        assert told(theirs) == told(str(NOBODY)), (verb, path)
    assert account.done("GET", f"/audiences/{audience}")["name"] == "New"
    assert other.done("GET", "/audiences")["audiences"] == []


def test_a_token_is_needed_and_passed_on_as_it_came(platform: Platform, account: Account) -> None:
    for token in (None, b"Bearer none", b"Basic YTpi", b"Bearer \xe9"):
        headers = [] if token is None else [(b"authorization", token)]
        answer = httpx2.get(f"{account.url}/api/v1/audiences", headers=headers, trust_env=False)
        assert fault(answer, 401)["code"] == "UNAUTHENTICATED"
        assert answer.headers["www-authenticate"] == "Bearer"
    nobody = httpx2.get(f"{account.url}/api/v1/account", headers={"authorization": f"Bearer {platform.token(NOBODY)}"}, trust_env=False)
    assert fault(nobody, 404)["reason"] == "ACCOUNT_NOT_FOUND"


def test_all_faults_of_a_request_are_told_by_name(account: Account) -> None:
    body = fault(account("POST", "/audiences", {"nmae": "x", "tags": "vip", "workspace_ids": ["one", 2**70], "state": "ACTIVE"}), 400)
    assert (body["code"], body["reason"]) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert details(body) == [
        ("audience.nmae", "UNKNOWN_FIELD"),
        ("audience.tags", "WRONG_TYPE"),
        ("audience.workspace_ids[0]", "WRONG_TYPE"),
        ("audience.workspace_ids[1]", "OUT_OF_RANGE"),
        ("audience.state", "UNKNOWN_VALUE"),
    ]
    assert "Did you mean `name`?" in body["details"][0]["description"]
    wrong = account("GET", "/audiences", params={"page_sizes": "1", "states": "DRAFT", "archived": "maybe", "search": ["a", "b"]})
    assert details(fault(wrong, 400)) == [
        ("page_sizes", "UNKNOWN_FIELD"),
        ("states[0]", "UNKNOWN_VALUE"),
        ("archived", "UNKNOWN_VALUE" if "archived" not in wrong.text else details(wrong.json())[2][1]),
        ("search", "DUPLICATE_KEY"),
    ]


def test_faults_that_a_service_finds_keep_their_places(account: Account) -> None:
    wanted = {"name": "", "workspace_ids": [account.workspace()], "definition": {"root": {"any": {}}}}
    body = fault(account("POST", "/audiences", wanted), 400)
    assert body["reason"] == "INVALID_AUDIENCE"
    assert details(body) == [("name", "NAME_EMPTY"), ("definition.root.any", "EMPTY_GROUP")]
    assert details(fault(account("POST", "/workspaces", {"name": ""}), 400))[0][0] == "name"
    assert fault(account("GET", "/audiences", params={"page_token": "x"}), 400)["reason"] == "INVALID_PAGE_TOKEN"
    mask = account("PATCH", f"/audiences/{account.audience()['audience_id']}", {"etag": "1"}, params={"update_mask": "nme"})
    assert details(fault(mask, 400)) == [("update_mask.paths[0]", "UNKNOWN_FIELD")]


def test_a_patch_changes_what_its_body_gives_or_what_its_mask_names(account: Account) -> None:
    audience = account.audience(description="For colleagues", tags=["a"])
    path = f"/audiences/{audience['audience_id']}"
    emptied = account.done("PATCH", path, {"description": "", "etag": audience["etag"]})
    assert (emptied["description"], emptied["tags"]) == ("", ["a"])
    named = account.done("PATCH", path, {"etag": emptied["etag"]}, params={"update_mask": "tags"})
    assert (named["tags"], named["name"]) == ([], audience["name"])
    assert details(fault(account("PATCH", path, {"etag": named["etag"]}), 400)) == [("audience", "MISSING")]
    fixed = account("PATCH", path, {"name": "x", "state": "AUDIENCE_STATE_ACTIVE", "etag": named["etag"]})
    assert details(fault(fixed, 400)) == [("update_mask.paths[1]", "UNKNOWN_FIELD")]


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        (b"{", "", "NOT_JSON"),
        (b"\xff", "", "NOT_JSON"),
        (b'{"name": NaN}', "", "NOT_JSON"),
        (b"[]", "audience", "WRONG_TYPE"),
        (b"null", "audience", "WRONG_TYPE"),
        (b"", "audience", "MISSING"),
        (b'{"name": "a", "name": "b"}', "audience.name", "DUPLICATE_KEY"),
        (b'{"external_name": "a", "externalName": "b"}', "audience.external_name", "DUPLICATE_KEY"),
        (b'{"name": "\\ud800"}', "audience.name", "WRONG_TYPE"),
        (b'{"definition": {"root": {"everyone": {}, "all": {}}}}', "audience.definition.root.all", "NOT_APPLICABLE"),
        (b'{"definition": {"root": {"exclude": {"node": 1}}}}', "audience.definition.root.exclude.node", "WRONG_TYPE"),
        (b"[" * 200_000, "", "TOO_DEEP"),
    ],
)
def test_what_is_no_body_is_refused(account: Account, content: bytes, place: str, reason: str) -> None:
    answer = account("POST", "/audiences", content=content, headers={"content-type": "application/json"})
    assert (place, reason) in details(fault(answer, 400)), answer.text


def test_what_lies_too_deep_is_refused(account: Account) -> None:
    root: Any = {"everyone": {}}
    for _ in range(200):
        root = {"exclude": {"node": root}}
    assert details(fault(account("POST", "/definitions:validate", {"definition": {"root": root}}), 400))[0][1] == "TOO_DEEP"


def test_of_very_many_faults_the_first_are_told(account: Account) -> None:
    body = fault(account("POST", "/audiences", {f"unknown_{number}": 1 for number in range(50_000)}), 400)
    assert len(body["details"]) == 100


def test_etags_and_keys_of_idempotency_are_headers_too(account: Account) -> None:
    audience = account.audience()
    path, stale = f"/audiences/{audience['audience_id']}", {"if-match": '"999"'}
    told = fault(account("PATCH", path, {"name": "x"}, headers=stale), 412)
    assert (told["code"], told["reason"]) == ("ABORTED", "STALE_ETAG")
    assert fault(account("PATCH", path, {"name": "x", "etag": "999"}), 409)["reason"] == "STALE_ETAG"
    assert fault(account("POST", f"{path}:activate", headers=stale), 412)["metadata"]["etag"] == audience["etag"]
    for header in ("7", '"7', 'W/"7"', '"7", "8"'):
        assert details(fault(account("DELETE", path, headers={"if-match": header}), 400)) == [("If-Match", "UNKNOWN_VALUE")]
    both = account("PATCH", path, {"name": "x", "etag": "1"}, headers=stale)
    assert details(fault(both, 400)) == [("If-Match", "DUPLICATE_KEY")]
    assert details(fault(account("GET", path, headers=stale), 400)) == [("If-Match", "NOT_APPLICABLE")]
    wanted = {"name": "Once", "workspace_ids": audience["workspace_ids"], "definition": SEED}
    key = {"idempotency-key": "k"}
    assert account.done("POST", "/audiences", wanted, headers=key) == account.done("POST", "/audiences", wanted, headers=key)
    reused = account("POST", "/audiences", {**wanted, "name": "Twice"}, headers=key)
    assert fault(reused, reused.status_code)["reason"] == "IDEMPOTENCY_KEY_REUSED"
    assert 400 <= reused.status_code < 500
    unknown = account("POST", f"{path}:activate", headers=key)
    assert details(fault(unknown, 400)) == [("Idempotency-Key", "NOT_APPLICABLE")]


def test_a_thing_is_named_once(account: Account) -> None:
    path = f"/audiences/{account.audience()['audience_id']}"
    assert details(fault(account("POST", f"{path}:activate", {"audience_id": "999"}), 400)) == [("audience_id", "NOT_APPLICABLE")]
    assert details(fault(account("PATCH", path, {"audience_id": "999"}), 400)) == [("audience.audience_id", "NOT_APPLICABLE")]
    assert details(fault(account("GET", path, params={"audience_id": "999"}), 400)) == [("audience_id", "UNKNOWN_FIELD")]
    assert details(fault(account("POST", f"{path}:activate", params={"etag": "1"}), 400)) == [("etag", "UNKNOWN_FIELD")]
    assert details(fault(account("GET", path, content=b"{}"), 400)) == [("", "NOT_APPLICABLE")]


def test_paths_that_are_not_there_and_verbs_that_are_not_possible(account: Account) -> None:
    for path in ("/nowhere", "/audiences/7:frobnicate", "/audiences/7/", "/", "/audiences//revisions", "/a%0Ab", "/%2e%2e/healthz"):
        assert fault(account("GET", path), 404)["reason"] == "NO_SUCH_PATH", path
    wrong = account("PUT", "/audiences/7")
    assert fault(wrong, 405)["reason"] == "NO_SUCH_METHOD"
    assert wrong.headers["allow"] == "DELETE, GET, PATCH"
    for path in ("/audiences/seven", "/audiences/7.5", "/audiences/%37x", "/audiences/7%0A", f"/audiences/{2**64}"):
        assert details(fault(account("GET", path), 400))[0][0] == "audience_id", path
    assert fault(account("GET", "/audiences/%ff"), 400)["reason"] == "BAD_PATH"


def test_bodies_of_another_kind_or_size_are_refused(account: Account) -> None:
    form = account("POST", "/audiences", content=b"name=x", headers={"content-type": "application/x-www-form-urlencoded"})
    assert fault(form, 415)["reason"] == "NOT_JSON"
    packed = account("POST", "/audiences", content=b"x", headers={"content-type": "application/json", "content-encoding": "gzip"})
    assert fault(packed, 415)["reason"] == "ENCODED"
    long = account("POST", "/audiences", content=b" " * (BODY_MAX_BYTES + 1), headers={"content-type": "application/json"})
    assert fault(long, 413)["reason"] == "TOO_LARGE"


def test_pages_follow_their_tokens(account: Account) -> None:
    workspace = account.workspace()
    made = {account.audience(name=f"A{number}", workspace_ids=[workspace])["audience_id"] for number in range(5)}
    seen, token, pages = list[str](), "", 0
    while pages == 0 or token:
        page = account.done("GET", "/audiences", params={"page_size": 2, "page_token": token})
        seen += [one["audience_id"] for one in page["audiences"]]
        token, pages = page["next_page_token"], pages + 1
    assert (set(seen), len(seen), pages) == (made, 5, 3)


def test_the_document_and_the_page_are_served_and_load_nothing_from_elsewhere(platform: Platform) -> None:
    with httpx2.Client(base_url=platform.url, trust_env=False) as client:
        assert client.get("/api/v1/openapi.json").json() == yaml.safe_load(openapi.FILE.read_text())
        page, script = client.get("/api/v1/docs"), client.get("/api/v1/docs.js")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert script.headers["content-type"].startswith("text/javascript")
        assert "//" not in page.text.replace("<!doctype", "")
        assert "http" not in script.text
