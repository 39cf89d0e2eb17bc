"""The parts of the platform API by themselves: templates, rules, bodies, and a service that is away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx2
import pytest
from google.protobuf.descriptor import FieldDescriptor
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_service_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from starlette.applications import Starlette

from services.chassis.clock import SystemClock
from services.chassis.errors import DeadlineExceeded, to_status
from services.console.probe import Probe
from services.console.rest import answers, bodies
from services.console.rest.faults import Findings, Refusal
from services.console.rest.requests import message_of
from services.console.rest.routes import routes
from services.console.rest.rules import Rule, rules_of
from services.console.rest.templates import BadPath, BadTemplate, template_of
from services.console.rest.transcoder import BODY_MAX_BYTES, Transcoder
from services.console.web import Web

RULES = {rule.method.name: rule for rule in rules_of()}


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("/v1/a", "/v1/a", {}),
        ("/v1/a", "/v1/a/", None),
        ("/v1/a", "/v1/ab", None),
        ("/v1/a/{x}", "/v1/a/7", {"x": "7"}),
        ("/v1/a/{x}", "/v1/a/", None),
        ("/v1/a/{x}", "/v1/a/7/b", None),
        ("/v1/a/{x}", "/v1/a/7:go", None),
        ("/v1/a/{x}", "/v1/a/7%3Ago", {"x": "7:go"}),
        ("/v1/a/{x}", "/v1/a/b%2Fc%20d", {"x": "b/c d"}),
        ("/v1/a/{x}:go", "/v1/a/7:go", {"x": "7"}),
        ("/v1/a/{x}:go", "/v1/a/7", None),
        ("/v1/a:go", "/v1/a:go", {}),
        ("/v1/{a.b}/c/{d}", "/v1/1/c/2", {"a.b": "1", "d": "2"}),
        ("/v1/{name=things/*}/x", "/v1/things/5/x", {"name": "things/5"}),
        ("/v1/{name=things/**}", "/v1/things/5/6", {"name": "things/5/6"}),
        ("/v1/a.b", "/v1/axb", None),
    ],
)
def test_templates_match_as_google_api_http_says(template: str, path: str, values: dict[str, str] | None) -> None:
    assert template_of(template).match(path) == values


def test_what_is_no_template_or_path_is_told() -> None:
    for text in ("v1/a", "/v1/{x", "/v1/{}", "/v1/{X}"):
        with pytest.raises(BadTemplate):
            template_of(text)
    with pytest.raises(BadPath):
        template_of("/v1/{x}").match("/v1/%ff")


def test_no_two_rules_answer_the_same_path() -> None:
    seen: dict[tuple[str, str], str] = {}
    for rule in RULES.values():
        shape = (rule.verb, template_of(rule.template.text).pattern.pattern)
        assert seen.setdefault(shape, rule.method.full_name) == rule.method.full_name


def test_every_field_of_a_request_can_be_given() -> None:
    for rule in RULES.values():
        given_somewhere = {path.partition(".")[0] for path in rule.template.variables} | set(rule.query) | {rule.body}
        missing = {field.name for field in rule.method.input_type.fields} - given_somewhere
        assert rule.body == "*" or not missing, f"{rule.method.full_name} has no way to give {missing}"


def _sent(rule: Rule, body: bytes = b"", query: str = "", **path: str) -> Any:
    return message_of(rule, path, query, {}, body)


def test_a_request_is_made_of_its_path_query_and_body() -> None:
    message = message_of(
        RULES["UpdateAudience"],
        {"audience.audience_id": "7"},
        "update_mask=name,tags&note=a%20b",
        {"if-match": '"3"'},
        b'{"name": "x", "audienceId": 7, "workspaceIds": ["1", 2]}',
    )
    wanted = pb.UpdateAudienceRequest(note="a b")
    wanted.audience.audience_id, wanted.audience.name, wanted.audience.etag = 7, "x", "3"
    wanted.audience.workspace_ids.extend([1, 2])
    wanted.update_mask.paths.extend(["name", "tags"])
    assert message == wanted


def test_bad_queries_are_told() -> None:
    for query in ("search=%ff", "&".join(["tags=a"] * 1_001), "search=a&search=b", "update_mask=a", "page_size=99999999999", "page_size="):
        with pytest.raises(Refusal):
            _sent(RULES["ListAudiences"], query=query)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
_JSON = st.recursive(
    _SCALARS | st.sampled_from(["7", "-1", "AUDIENCE_STATE_DRAFT"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def _likely(draw: st.DrawFn, depth: int = 4, message: Any = pb.UpdateAudienceRequest.DESCRIPTOR) -> dict[str, Any]:
    """An object with fields of a message, of which some hold what they should."""
    value: dict[str, Any] = {}
    for field in draw(st.lists(st.sampled_from(list(message.fields)), max_size=4)) if message.fields else []:
        name = draw(st.sampled_from([field.name, field.json_name]))
        if field.message_type is not None and depth and not field.message_type.GetOptions().map_entry:
            inner: Any = draw(_likely(depth - 1, field.message_type))
        elif field.enum_type is not None:
            inner = draw(st.sampled_from([*field.enum_type.values_by_name, "NONE"]))
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            inner = draw(st.text(max_size=3))
        else:
            inner = draw(_JSON)
        value[name] = [inner] if field.is_repeated and draw(st.integers(0, 9)) else inner
    return value


@given(_likely() | _JSON)
@settings(max_examples=500, deadline=None)
def test_what_passes_the_check_protobuf_reads(value: Any) -> None:
    findings = Findings()
    bodies.check(value, pb.UpdateAudienceRequest.DESCRIPTOR, findings)
    rule = RULES["ValidateDefinition"]
    whole = Rule(pb.DESCRIPTOR.services_by_name["AudienceService"].methods_by_name["UpdateAudience"], "POST", rule.template, "*")
    text = answers._text(value).encode(errors="surrogatepass")
    fault = _fault(whole, text)
    assert (fault is not None) == bool(findings.violations)
    assert fault is None or (fault.status == 400 and "can't be read" not in fault.failure.message), fault


def _fault(rule: Rule, body: bytes) -> Refusal | None:
    try:
        _sent(rule, body)
    except Refusal as fault:
        return fault
    return None


class _Evaluator:
    """Says something once, unless it is `silent`, and then fails or waits."""

    def __init__(self, *, fails: bool = False, silent: bool = False) -> None:
        self._fails = fails
        self._silent = silent
        self.came, self.left = asyncio.Event(), asyncio.Event()
        self.metadata: dict[str, Any] = {}

    async def watch(self, request: object, context: Any) -> AsyncIterator[evaluator_pb.WatchAudiencesResponse]:
        self.metadata = dict(context.invocation_metadata())
        self.came.set()
        try:
            if not self._silent:
                yield evaluator_pb.WatchAudiencesResponse()
            if self._fails:
                await context.abort_with_status(rpc_status.to_status(to_status(DeadlineExceeded("Too long."))))
            await asyncio.sleep(60)
        finally:
            self.left.set()


@asynccontextmanager
async def _served(evaluator: _Evaluator) -> AsyncIterator[httpx2.AsyncClient]:
    """The platform API in front of an evaluator, by HTTP."""
    server = grpc.aio.server()
    watch = grpc.unary_stream_rpc_method_handler(
        evaluator.watch,
        request_deserializer=evaluator_pb.WatchAudiencesRequest.FromString,
        response_serializer=evaluator_pb.WatchAudiencesResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("muster.evaluator.v1.EvaluatorService", {"WatchAudiences": watch}),)
    )
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    platform = Transcoder(dict.fromkeys(("definition", "evaluator", "forwarder"), address))
    web = Web("127.0.0.1", 0, Probe({}, wait_seconds=1), SystemClock(), routes(platform))
    await platform.start()
    await web.start()
    async with httpx2.AsyncClient(base_url=web.url, trust_env=False, headers={"authorization": "Bearer x"}) as client:
        yield client
    await web.stop()
    await platform.stop()
    await server.stop(None)


async def test_a_stream_that_fails_ends_with_a_line_that_says_so() -> None:
    async with _served(_Evaluator(fails=True)) as client:
        answer = await client.get("/api/v1/statistics:watch")
    first, last = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.status_code == 200
    assert first == {"statistics": []}
    assert (last["error"]["code"], last["error"]["message"]) == ("DEADLINE_EXCEEDED", "Too long.")


async def test_whoever_leaves_a_stream_ends_the_call() -> None:
    evaluator = _Evaluator(fails=False)
    async with _served(evaluator) as client:
        async with client.stream("GET", "/api/v1/statistics:watch") as answer:
            assert await anext(answer.aiter_lines()) == '{"statistics":[]}'
            assert not evaluator.left.is_set()
        async with asyncio.timeout(10):
            await evaluator.left.wait()


async def test_whoever_leaves_before_a_stream_says_anything_ends_the_call_too() -> None:
    evaluator = _Evaluator(silent=True)
    async with _served(evaluator) as client:
        asking = asyncio.create_task(client.get("/api/v1/statistics:watch"))
        async with asyncio.timeout(10):
            await evaluator.came.wait()
            asking.cancel()
            await evaluator.left.wait()


async def test_without_a_token_no_body_is_read() -> None:
    async with _served(_Evaluator()) as client, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /api/v1/audiences HTTP/1.1\r\nhost: muster\r\ncontent-length: 8000000\r\n\r\n{")
        answer = (await reader.read()).decode()
        writer.close()
    assert answer.startswith("HTTP/1.1 401 ")
    assert "www-authenticate: Bearer" in answer
    assert json.loads(answer.partition("\r\n\r\n")[2])["reason"] == "MISSING_TOKEN"


@pytest.mark.parametrize("of", ["{}", '{"everyone":{}}', '{"any":{"nodes":[]}}'])
def test_a_body_of_very_many_values_is_refused_at_once(of: str) -> None:
    body = '{"definition":{"root":{"all":{"nodes":[' + ",".join([of] * (BODY_MAX_BYTES // (len(of) + 1) - 20)) + "]}}}}"
    begin = time.process_time()
    fault = _fault(RULES["ValidateDefinition"], body.encode())
    assert fault is not None
    assert [one.reason for one in fault.failure.violations] == ["TOO_LARGE"]
    assert time.process_time() - begin < 8


async def test_a_header_that_comes_twice_is_refused() -> None:
    async with _served(_Evaluator()) as client:
        for name in ("Authorization", "If-Match", "Idempotency-Key"):
            client.headers.pop(name, None)
            answer = await client.post("/api/v1/audiences/5:activate", headers=[(name, '"1"'), (name, '"2"')])
            assert answer.status_code == 400
            assert [(one["field"], one["reason"]) for one in answer.json()["details"]] == [(name, "DUPLICATE_KEY")]


@pytest.mark.parametrize(
    ("said", "told"),
    [("", "127.0.0.1"), ("203.0.113.9", "203.0.113.9, 127.0.0.1"), ("x" * 500, f"{'x' * 189}, 127.0.0.1"), ("caf\xe9", "127.0.0.1")],
)
async def test_a_service_is_told_from_where_a_call_came(said: str, told: str) -> None:
    evaluator = _Evaluator(fails=True)
    async with _served(evaluator) as client:
        await client.get("/api/v1/statistics:watch", headers=[(b"x-forwarded-for", said.encode("latin-1"))] if said else [])
    assert evaluator.metadata["x-forwarded-for"] == told


async def test_a_service_that_is_away_is_503_and_its_address_is_not_told() -> None:
    platform = Transcoder(dict.fromkeys(("definition", "evaluator", "forwarder"), "127.0.0.1:1"))
    await platform.start()
    app = Starlette(routes=routes(platform))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
        for path in ("/api/v1/audiences", "/api/v1/statistics:watch"):
            answer = await client.get(path, headers={"authorization": "Bearer x"})
            assert answer.status_code == 503
            assert answer.json()["code"] == "UNAVAILABLE"
            assert "127.0.0.1" not in answer.text
    await platform.stop()
