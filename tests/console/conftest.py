"""The platform API of a whole installation: every service a process, HTTP at the console."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from muster.definition.v1 import definition_service_pb2 as definition_pb
from muster.definition.v1.definition_service_pb2_grpc import AccountServiceStub

from cli import devfile
from services.chassis import auth
from tests.cli.conftest import installation

__all__ = ["installation"]

SEED: dict[str, Any] = {
    "root": {
        "all": {
            "nodes": [
                {
                    "criterion": {
                        "event": {
                            "match": {"type": "EVENT_TYPE_INSTALL"},
                            "when": {"last": {"count": 72, "unit": "DURATION_UNIT_HOUR"}},
                        }
                    }
                },
                {"criterion": {"user_attribute": {"attribute": "plan", "test": {"presence": {"operator": "PRESENCE_OPERATOR_EXISTS"}}}}},
            ]
        }
    }
}


class Account:
    """Somebody who calls the platform API for one account."""

    def __init__(self, url: str, account_id: int, token: str) -> None:
        self.account_id = account_id
        self.url = url
        self.token = token
        self.http = httpx2.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=30)

    def __call__(self, verb: str, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        """Call a path below /api/v1 with a JSON body, if any."""
        if body is not None:
            options["json"] = body
        return self.http.request(verb, path, **options)

    def done(self, verb: str, path: str, body: Any = None, **options: Any) -> Any:
        """The document of a call that must succeed."""
        answer = self(verb, path, body, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def workspace(self) -> str:
        return str(self.done("POST", "/workspaces", {"name": "Shop"})["workspace_id"])

    def audience(self, **fields: Any) -> dict[str, Any]:
        """A new draft."""
        wanted = {"name": "New", "definition": SEED, **fields}
        wanted.setdefault("workspace_ids", [self.workspace()])
        return dict(self.done("POST", "/audiences", wanted))


class Platform:
    """The installation, and new accounts of it."""

    def __init__(self, dev: devfile.DevFile) -> None:
        self._dev = dev
        self.url = dev.http["console"]

    def token(self, account_id: int, *, roles: tuple[str, ...] = ()) -> str:
        return auth.mint(
            self._dev.token_secret, account_id=account_id, subject="ann", roles=roles, ttl=timedelta(hours=1), now=datetime.now(UTC)
        )

    def account(self, name: str = "Acme") -> Account:
        with grpc.insecure_channel(self._dev.grpc["definition"]) as channel:
            operator = (("authorization", f"Bearer {self.token(auth.OPERATOR_ACCOUNT, roles=(auth.OPERATOR,))}"),)
            made = AccountServiceStub(channel).CreateAccount(definition_pb.CreateAccountRequest(name=name), metadata=operator)
        return Account(self.url, made.account_id, self.token(made.account_id))


@pytest.fixture(scope="session")
def platform(installation: Path) -> Platform:
    known = devfile.read(installation)
    assert known is not None
    return Platform(known)


@pytest.fixture
def account(platform: Platform) -> Iterator[Account]:
    """A fresh account."""
    made = platform.account()
    yield made
    made.http.close()
