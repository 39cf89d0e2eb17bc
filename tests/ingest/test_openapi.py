"""docs/events-api.openapi.yaml and a running service say the same: what the file allows is accepted, and each answer is as it says."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig

from services.ingest.domain import wire
from services.ingest.domain.limits import BATCH_MAX_BYTES
from services.ingest.domain.mapping import EVENT_TYPES
from services.ingest.domain.model import Reason
from tests.ingest.conftest import KEY, SECRET, Service

FILE = Path(__file__).parents[2] / "docs" / "events-api.openapi.yaml"
EXAMPLES = int(os.environ.get("MUSTER_OPENAPI_EXAMPLES", "30"))
PATHS = ("/v2/events", "/v2/bulkevents")


def operation(path: str, mode: GenerationMode) -> Any:
    # A NUL is refused, and no schema can say so.
    generation = GenerationConfig(modes=[mode], allow_x00=False)
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    return schemathesis.openapi.from_path(FILE, config=config)[path]["POST"]


async def check(service: Service, path: str, mode: GenerationMode, verdict: Any) -> None:
    """Send what is made of the file, and compare the answers with it."""
    session = requests.Session()
    session.trust_env = False
    session.auth = (KEY, SECRET)

    @given(case=operation(path, mode).as_strategy(generation_mode=mode))
    # Not made smaller: what fails is told, and each try is a request.
    @settings(
        max_examples=EXAMPLES,
        # The same in each run of the tests; a longer run looks further.
        derandomize="MUSTER_OPENAPI_EXAMPLES" not in os.environ,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
        answer = session.post(f"{service.url}{path}", data=body, headers={"content-type": "application/json"})
        verdict(body, answer)
        case.operation.validate_response(answer)

    await asyncio.to_thread(send)


@pytest.mark.parametrize("path", PATHS)
async def test_all_that_the_file_allows_is_accepted(service: Service, path: str) -> None:
    def verdict(body: bytes, answer: requests.Response) -> None:
        if len(body) < BATCH_MAX_BYTES:
            assert (answer.status_code, answer.text) == (202, ""), f"{answer.text} {body!r}"

    await check(service, path, GenerationMode.POSITIVE, verdict)


@pytest.mark.parametrize("path", PATHS)
async def test_what_the_file_does_not_allow_is_accepted_or_refused_as_it_says(service: Service, path: str) -> None:
    seen = set()

    def verdict(body: bytes, answer: requests.Response) -> None:
        seen.add(answer.status_code)
        assert answer.status_code in (202, 400, 413), body

    await check(service, path, GenerationMode.NEGATIVE, verdict)
    assert 400 in seen


def test_the_file_has_every_event_type_reason_and_field_that_is_read() -> None:
    document = yaml.safe_load(FILE.read_text())
    schemas = document["components"]["schemas"]
    types = [event["properties"]["event_type"] for event in schemas["Event"]["oneOf"]]
    assert {name for type_ in types for name in type_.get("enum", [type_.get("const")])} == set(EVENT_TYPES)
    reasons = schemas["Errors"]["properties"]["errors"]["items"]["properties"]["reason"]["enum"]
    # Of inputs, gRPC alone speaks.
    assert set(reasons) == {reason.value for reason in Reason} - {"UNKNOWN_INPUT"}
    named = set()

    def names(node: Any) -> None:
        if isinstance(node, dict):
            named.update(node.get("properties", {}))
            for child in node.values():
                names(child)
        elif isinstance(node, list):
            for child in node:
                names(child)

    names(schemas)
    structs = [value for value in vars(wire).values() if isinstance(value, type) and issubclass(value, msgspec.Struct)]
    read = {field.name for struct in structs if struct is not msgspec.Struct for field in msgspec.structs.fields(struct)}
    # The Python client's crash reports hold it, and it is only looked at for these; `old` names an identity if `new` does not.
    assert read - named == {"stack_trace", "old"}
