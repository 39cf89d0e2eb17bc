"""docs/platform-api.openapi.yaml and a running installation say the same: whatever is sent, each answer is as the file says."""

from __future__ import annotations

import os
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from services.console.rest import openapi
from services.console.rest.rules import Rule, rules_of
from tests.console.conftest import Account

EXAMPLES = int(os.environ.get("MUSTER_OPENAPI_EXAMPLES", "3"))
# A stream of changes has no end.
RULES = {rule.method.name: rule for rule in rules_of() if not rule.method.server_streaming}
_CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


def _operations(mode: GenerationMode) -> Any:
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=GenerationConfig(modes=[mode], allow_x00=False))))
    return schemathesis.openapi.from_path(openapi.FILE, config=config)


_BY_MODE = {mode: _operations(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)}


def _check(account: Account, rule: Rule, mode: GenerationMode) -> set[int]:
    """Send what is made of the file, compare the answers with it; which statuses came."""
    session = requests.Session()
    session.trust_env = False
    # The token is the account's own, whatever is made of the file's scheme.
    token = {"authorization": f"Bearer {account.token}"}
    seen = set[int]()

    @given(case=_BY_MODE[mode][openapi.path_of(rule)][rule.verb].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize="MUSTER_OPENAPI_EXAMPLES" not in os.environ,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        answer = case.call(base_url=account.url, session=session, headers=token, timeout=30)
        seen.add(answer.status_code)
        case.validate_response(answer, checks=_CHECKS)

    send()
    return seen


@pytest.mark.parametrize("name", RULES)
def test_each_answer_is_as_the_file_says(account: Account, name: str) -> None:
    assert _check(account, RULES[name], GenerationMode.POSITIVE) <= {200, 400, 404, 409, 412}
    # Among what the file does not allow is a request without a token.
    assert _check(account, RULES[name], GenerationMode.NEGATIVE) <= {200, 400, 401, 404, 405, 409, 412, 413, 415}
