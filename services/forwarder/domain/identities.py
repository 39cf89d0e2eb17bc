"""Identities as we have them, and as a partner is told them: hashed or not, by type, in one order."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from enum import IntEnum, StrEnum
from typing import NamedTuple

import msgspec


class Kind(IntEnum):
    """The types of identities, by their numbers in `muster.ingest.v1.IdentityType`."""

    OTHER = 1
    CUSTOMER_ID = 2
    FACEBOOK = 3
    TWITTER = 4
    GOOGLE = 5
    MICROSOFT = 6
    YAHOO = 7
    EMAIL = 8
    ALIAS = 9
    FACEBOOK_CUSTOM_AUDIENCE_ID = 10
    OTHER_2 = 11
    OTHER_3 = 12
    OTHER_4 = 13
    OTHER_5 = 14
    OTHER_6 = 15
    OTHER_7 = 16
    OTHER_8 = 17
    OTHER_9 = 18
    OTHER_10 = 19
    MOBILE_NUMBER = 20
    PHONE_NUMBER_2 = 21
    PHONE_NUMBER_3 = 22
    IOS_ADVERTISING_ID = 40
    IOS_VENDOR_ID = 41
    ANDROID_ID = 42
    GOOGLE_ADVERTISING_ID = 43
    PUSH_TOKEN = 44
    ROKU_ADVERTISING_ID = 45
    ROKU_PUBLISHER_ID = 46
    MICROSOFT_ADVERTISING_ID = 47
    MICROSOFT_PUBLISHER_ID = 48
    FIRE_ADVERTISING_ID = 49
    AMP_ID = 50
    DEVICE_APPLICATION_STAMP = 51
    PARTNER_ID = 60


DEVICE_KINDS = frozenset(kind for kind in Kind if 40 <= kind < 60)
PARTNER_KINDS = frozenset(kind for kind in Kind if kind >= 60)
USER_KINDS = frozenset(Kind) - DEVICE_KINDS - PARTNER_KINDS


class Encoding(StrEnum):
    """How a value is told: as it is, or hashed after it was trimmed and put in lower case."""

    RAW = "raw"
    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"


class Identity(NamedTuple):
    """One name of a person or of a device, as it was collected."""

    kind: int
    value: str


class Presented(NamedTuple):
    """One identity in the form in which a partner is told it."""

    kind: int
    encoding: str
    value: str


# What an email cannot look like unless it was hashed before it came to us.
_HASHES = {32: Encoding.MD5, 40: Encoding.SHA1, 64: Encoding.SHA256}
_HEX = re.compile(r"[0-9a-fA-F]+")


def present(identity: Identity, encoding: Encoding) -> Presented:
    """The identity in this encoding. An email that came to us as a hash stays that hash, under its own encoding."""
    value = identity.value
    if identity.kind == Kind.EMAIL and len(value) in _HASHES and _HEX.fullmatch(value):
        return Presented(identity.kind, _HASHES[len(value)], value.lower())
    if encoding is Encoding.RAW:
        return Presented(identity.kind, encoding, value)
    normal = value.strip().lower().encode()
    if encoding is Encoding.SHA256:
        return Presented(identity.kind, encoding, hashlib.sha256(normal).hexdigest())
    # The partner asks for these; they protect nothing of ours.
    digest = hashlib.md5(normal, usedforsecurity=False) if encoding is Encoding.MD5 else hashlib.sha1(normal, usedforsecurity=False)
    return Presented(identity.kind, encoding, digest.hexdigest())


_decoder = msgspec.json.Decoder(tuple[tuple[int, str, str], ...])


def pack(identities: Iterable[Presented]) -> str:
    """The identities as one text: equal sets give equal texts, whatever their order."""
    return msgspec.json.encode(sorted(set(identities))).decode()


def unpack(text: str) -> tuple[Presented, ...]:
    """The identities of a packed text, in its order."""
    return tuple(Presented(*row) for row in _decoder.decode(text))
