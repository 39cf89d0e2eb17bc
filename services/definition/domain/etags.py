"""Etags: a change is made only to what its caller has seen."""

from __future__ import annotations

from services.chassis.errors import Conflict, Invalid

from .faults import Reason


class StaleEtag(Conflict):
    """The thing was changed after the caller read it."""


class EtagMissing(Invalid):
    """An update must say which state of the thing its caller has seen."""

    reason = Reason.MISSING.value


def etag_of(version: int) -> str:
    """The etag of a version of a thing; callers must not read anything into it."""
    return f"v{version}"


def check_etag(given: str, version: int, *, what: str) -> None:
    """Raises StaleEtag unless the etag is that of this version. An empty one stands for whatever the version is."""
    if given and given != etag_of(version):
        raise StaleEtag(f"The {what} was changed after it was read; read it again and repeat the change.", etag=etag_of(version))


def check_required_etag(given: str, version: int, *, what: str) -> None:
    """As `check_etag`, for updates, which must name what they change."""
    if not given:
        raise EtagMissing.of(f"{what}.etag", f"The etag is missing; give the one of the {what} as it was read.", EtagMissing.reason)
    check_etag(given, version, what=what)
