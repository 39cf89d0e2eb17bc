"""Access tokens: who calls, for which account, in which roles. The account of a request comes from its token only."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from .errors import PermissionDenied, Unauthenticated

OPERATOR_ACCOUNT = 0
OPERATOR = "operator"
# A service of the installation that acts for an account, in every role.
SERVICE = "service"
_ALGORITHM = "HS256"
_SKEW = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Caller:
    """The verified sender of a request. Account 0 with the role `operator` runs the installation itself."""

    account_id: int
    subject: str
    roles: frozenset[str]

    @property
    def is_operator(self) -> bool:
        return self.account_id == OPERATOR_ACCOUNT and OPERATOR in self.roles


class InvalidToken(Unauthenticated):
    """The token is malformed, signed by another secret, or lacks a claim."""


class ExpiredToken(Unauthenticated):
    """The token was valid and is no longer."""


class MissingToken(Unauthenticated):
    """The request carries no token."""


class MissingRole(PermissionDenied):
    """The caller's token lacks the role that this needs."""


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def mint(secret: str, *, account_id: int, subject: str, roles: Iterable[str] = (), ttl: timedelta, now: datetime) -> str:
    """A signed token, valid from `now` for `ttl`."""
    claims = {
        "sub": subject,
        "account": account_id,
        "roles": sorted(set(roles)),
        "iat": int(now.timestamp()),
        "exp": int((now + ttl).timestamp()),
    }
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def verify(secret: str, token: str, now: datetime) -> Caller:
    """Who this token speaks for at `now`. Raises InvalidToken or ExpiredToken with the cause; the token itself is never told."""
    try:
        # The end is compared with `now` below, as time is a parameter.
        claims = jwt.decode(
            token,
            secret,
            algorithms=[_ALGORITHM],
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["sub", "exp"]},
        )
    except jwt.InvalidSignatureError:
        raise InvalidToken("The token was signed by another secret.") from None
    except jwt.MissingRequiredClaimError as fault:
        raise InvalidToken(f"The token lacks the claim {fault.claim}.") from None
    except jwt.PyJWTError:
        raise InvalidToken("The token is malformed.") from None
    account, roles, end = claims.get("account"), claims.get("roles", []), claims["exp"]
    if not isinstance(account, int) or isinstance(account, bool) or account < 0:
        raise InvalidToken("The claim account must be a whole number, zero or greater.")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise InvalidToken("The claim roles must be a list of names.")
    if not isinstance(end, int | float) or now.timestamp() > end + _SKEW.total_seconds():
        raise ExpiredToken("The token has expired.")
    return Caller(account, str(claims["sub"]), frozenset(roles))


def set_caller(caller: Caller) -> None:
    """Make this the caller of the rest of the current task; ways in do so once they have verified the token."""
    _caller.set(caller)


def caller() -> Caller:
    """The caller of the request in hand. Raises MissingToken outside of one."""
    current = _caller.get()
    if current is None:
        raise MissingToken("The request carries no token.")
    return current


def current_caller() -> Caller | None:
    """The caller of the request in hand; None outside of one."""
    return _caller.get()


def account_of(context: object = None) -> int:
    """The account of the request in hand; the gRPC context may be passed for the reader's sake."""
    return caller().account_id


def require_role(role: str) -> Caller:
    """The caller, who has this role. Raises MissingRole otherwise. The operator and the services of the installation have every role."""
    current = caller()
    if role not in current.roles and SERVICE not in current.roles and not current.is_operator:
        raise MissingRole(f"This needs the role {role}.", role=role)
    return current


def require_operator() -> Caller:
    """The caller, who is the operator of the installation. Raises MissingRole otherwise."""
    current = caller()
    if not current.is_operator:
        raise MissingRole("This is for the operator of the installation.", role=OPERATOR)
    return current
