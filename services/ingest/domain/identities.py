"""Names of people and of devices: how they are written, which of them is stronger, and an account's own rules for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from struct import Struct
from typing import TypeVar

from services.ingest.domain.model import Identity, IdentityType

_IDENTITY = Struct("<qH")

T = TypeVar("T")

# From the strongest to the weakest: what a person logs in with, what a partner calls the person, what a device is called. A device may
# change hands and a push token is given out anew, so these decide only where nothing better is known.
_PRIORITY = (
    IdentityType.CUSTOMER_ID,
    IdentityType.OTHER,
    *range(IdentityType.OTHER_2, IdentityType.OTHER_10 + 1),
    IdentityType.FACEBOOK,
    IdentityType.TWITTER,
    IdentityType.GOOGLE,
    IdentityType.MICROSOFT,
    IdentityType.YAHOO,
    IdentityType.FACEBOOK_CUSTOM_AUDIENCE_ID,
    IdentityType.EMAIL,
    IdentityType.MOBILE_NUMBER,
    IdentityType.PHONE_NUMBER_2,
    IdentityType.PHONE_NUMBER_3,
    IdentityType.ALIAS,
    IdentityType.PARTNER_ID,
    IdentityType.DEVICE_APPLICATION_STAMP,
    IdentityType.IOS_VENDOR_ID,
    IdentityType.ANDROID_ID,
    IdentityType.IOS_ADVERTISING_ID,
    IdentityType.GOOGLE_ADVERTISING_ID,
    IdentityType.FIRE_ADVERTISING_ID,
    IdentityType.ROKU_ADVERTISING_ID,
    IdentityType.ROKU_PUBLISHER_ID,
    IdentityType.MICROSOFT_ADVERTISING_ID,
    IdentityType.MICROSOFT_PUBLISHER_ID,
    IdentityType.AMP_ID,
    IdentityType.PUSH_TOKEN,
)
_STRENGTH = {int(type_): place for place, type_ in enumerate(_PRIORITY)}
_DEVICES = range(IdentityType.IOS_ADVERTISING_ID, IdentityType.PARTNER_ID)


def names_a_device(type_: int) -> bool:
    """Whether identities of this type name a device or an installation of an app, and so only by the way who uses it."""
    return type_ in _DEVICES


@dataclass(frozen=True, slots=True)
class Rules:
    """An account's rules (`muster.definition.v1.IdentityRules`): `resolution.py` says what they do.

    `priority`: the types from the strongest to the weakest; those that it leaves out follow in the usual order. `most`: how many values of
    a type one person has at most, where there is a bound; who would have more is another person. `replacing`: those of these types of
    which one that comes beyond the bound all the same takes the place of the oldest. `moving`: types that go over to whoever uses them
    last. `merging`: whether people who turn out to be one become one.
    """

    priority: tuple[int, ...] = ()
    most: Mapping[int, int] = field(default_factory=lambda: {int(IdentityType.CUSTOMER_ID): 1})
    replacing: frozenset[int] = frozenset()
    moving: frozenset[int] = frozenset({int(IdentityType.PUSH_TOKEN)})
    merging: bool = True

    def in_order(self, things: Iterable[T], type_of: Callable[[T], int]) -> list[T]:
        """Things that have a type of identity, the strongest first; those of one type as they are given."""
        own = {type_: place - len(self.priority) for place, type_ in enumerate(self.priority)}

        def strength(thing: T) -> int:
            type_ = type_of(thing)
            return own.get(type_, _STRENGTH[type_])

        return sorted(things, key=strength)


USUAL = Rules()


def normal(type_: int, value: str) -> Identity | None:
    """The identity as it is matched and kept, or None where the value names nobody.

    Blanks around a value go; an e-mail address goes to lower case. Nobody is named by an empty value, nor by one of only zeros and
    dashes, which devices send in place of an advertising id that they withhold.
    """
    value = value.strip()
    if not value.strip("0-") and (not value or type_ >= IdentityType.IOS_ADVERTISING_ID):
        return None
    return Identity(type_, value.lower() if type_ == IdentityType.EMAIL else value)


def by_strength(identities: Iterable[Identity]) -> list[Identity]:
    """Each identity once, the strongest first; of one type in the order given."""
    return sorted(dict.fromkeys(identities), key=_strength)


def _strength(identity: Identity) -> int:
    return _STRENGTH[identity.type]


def key_of(account_id: int, identity: Identity) -> bytes:
    """The 16 bytes that an identity of an account is stored and found under."""
    return blake2b(_IDENTITY.pack(account_id, identity.type) + identity.value.encode(), digest_size=16).digest()


def keys_of(account_id: int, type_: int, values: Iterable[str]) -> list[bytes]:
    """`key_of` for many identities of one type."""
    prefix = _IDENTITY.pack(account_id, type_)
    return [blake2b(prefix + value.encode(), digest_size=16).digest() for value in values]
