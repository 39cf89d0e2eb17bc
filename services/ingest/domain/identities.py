"""Who is who: identities are matched to one person, the strongest known first.

The rule: an MPID that the sender gives is the person; else the strongest identity that is known decides; else the person is new.
Identities that are not known yet become that person's. One that is known as another person's stays there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from struct import Struct

from services.ingest.domain.model import Identity, IdentityType

_IDENTITY = Struct("<qH")

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


@dataclass(slots=True)
class Person:
    """Who a batch is about: the MPID that the sender gave (0: none) and the keys of the identities, the strongest first."""

    mpid: int
    keys: Sequence[bytes]
    # The MPID should the person turn out to be new; drawn once, so that deciding again gives the same.
    fresh: int = 0


@dataclass(slots=True)
class Decision:
    """The MPID of each person, in their order, and the identities that are new with whom they belong to."""

    mpids: list[int] = field(default_factory=list)
    added: dict[bytes, int] = field(default_factory=dict)


def decide(people: Sequence[Person], known: Mapping[bytes, int], draw: Callable[[], int]) -> Decision:
    """Who each of these is, one after the other: what the first brings is known for the second. `draw` gives a new MPID."""
    decision = Decision()
    added = decision.added
    for person in people:
        mpid = person.mpid
        unknown = []
        for key in person.keys:
            owner = known.get(key) or added.get(key)
            if owner is None:
                unknown.append(key)
            elif not mpid:
                mpid = owner
        if not mpid:
            if not person.fresh:
                person.fresh = draw()
            mpid = person.fresh
        for key in unknown:
            added[key] = mpid
        decision.mpids.append(mpid)
    return decision
