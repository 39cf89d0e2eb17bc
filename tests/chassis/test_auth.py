from __future__ import annotations

from datetime import timedelta

import jwt
import pytest

from services.chassis import auth
from services.chassis.errors import MusterError
from tests.fakes.clock import START

SECRET = "0123456789abcdef0123456789abcdef"
HOUR = timedelta(hours=1)


def token(**values: object) -> str:
    claims = {"sub": "someone", "account": 5, "roles": ["editor"], "exp": int((START + HOUR).timestamp()), **values}
    return jwt.encode({key: value for key, value in claims.items() if value is not None}, SECRET, algorithm="HS256")


def test_a_minted_token_names_its_caller() -> None:
    minted = auth.mint(SECRET, account_id=5, subject="someone", roles=["editor"], ttl=HOUR, now=START)
    assert auth.verify(SECRET, minted, START) == auth.Caller(5, "someone", frozenset({"editor"}))


def test_a_token_ends() -> None:
    minted = auth.mint(SECRET, account_id=5, subject="someone", ttl=HOUR, now=START)
    auth.verify(SECRET, minted, START + HOUR)
    with pytest.raises(auth.ExpiredToken):
        auth.verify(SECRET, minted, START + HOUR + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        ("not a token", "malformed"),
        ("", "malformed"),
        (token(sub=None), "lacks the claim sub"),
        (token(exp=None), "lacks the claim exp"),
        (token(account=None), "account"),
        (token(account="5"), "account"),
        (token(account=-1), "account"),
        (token(account=True), "account"),
        (token(roles="editor"), "roles"),
        (token(roles=[1]), "roles"),
        (
            jwt.encode({"sub": "x", "account": 5, "exp": 9_999_999_999}, "another secret of thirty-two bytes", algorithm="HS256"),
            "another secret",
        ),
        (jwt.encode({"sub": "x", "account": 5, "exp": 9_999_999_999}, "", algorithm="none"), "malformed"),
    ],
)
def test_a_bad_token_is_refused_with_the_cause(bad: str, cause: str) -> None:
    with pytest.raises(auth.InvalidToken) as refusal:
        auth.verify(SECRET, bad, START)
    assert cause in refusal.value.message


def act_as(account_id: int, *roles: str) -> None:
    auth.set_caller(auth.Caller(account_id, "someone", frozenset(roles)))


async def test_a_role_is_required() -> None:
    act_as(5, "editor")
    assert auth.require_role("editor").account_id == 5
    with pytest.raises(auth.MissingRole):
        auth.require_role("admin")


async def test_the_operator_of_the_installation_has_every_role() -> None:
    act_as(0, "operator")
    assert auth.require_role("anything").is_operator
    assert auth.require_operator().account_id == auth.OPERATOR_ACCOUNT


async def test_a_service_acts_for_an_account_in_every_role_of_it() -> None:
    act_as(5, "service")
    assert auth.require_role("editor").account_id == 5
    with pytest.raises(auth.MissingRole):
        auth.require_operator()


async def test_an_account_cannot_make_itself_the_operator() -> None:
    act_as(5, "operator")
    with pytest.raises(auth.MissingRole):
        auth.require_operator()


async def test_outside_of_a_request_there_is_no_caller() -> None:
    with pytest.raises(MusterError):
        auth.account_of()
