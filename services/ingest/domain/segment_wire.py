"""The JSON of the Segment API as senders write it: what of it is read. All else (integrations, library, userAgent, ...) is passed over.

A missing field and null are alike. What people write freely has any type here; `segment` turns it into what is kept.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class WireApp(Struct, gc=False):
    version: Any = None
    build: Any = None


class WireCampaign(Struct, gc=False):
    name: Any = None
    source: Any = None


class WireContextDevice(Struct, gc=False, rename="camel"):
    type: Any = None
    id: Any = None
    advertising_id: Any = None
    ad_tracking_enabled: Any = None
    manufacturer: Any = None
    model: Any = None
    token: Any = None


class WirePlace(Struct, gc=False):
    country: Any = None
    latitude: Any = None
    longitude: Any = None


class WireNetwork(Struct, gc=False):
    carrier: Any = None


class WireOs(Struct, gc=False):
    name: Any = None
    version: Any = None


class WireContext(Struct, gc=False):
    app: WireApp | None = None
    campaign: WireCampaign | None = None
    device: WireContextDevice | None = None
    locale: Any = None
    location: WirePlace | None = None
    network: WireNetwork | None = None
    os: WireOs | None = None
    traits: dict[str, Any] | None = None


class WireMessage(Struct, gc=False, rename="camel"):
    """A message of any type; each type reads its own fields."""

    type: str | None = None
    message_id: str | None = None
    user_id: str | int | None = None
    anonymous_id: str | int | None = None
    timestamp: str | int | None = None
    original_timestamp: str | int | None = None
    sent_at: str | int | None = None
    received_at: str | int | None = None
    context: WireContext | None = None
    # track
    event: str | None = None
    # page, screen
    name: str | None = None
    category: str | None = None
    # track, page, screen
    properties: dict[str, Any] | None = None
    # identify, group
    traits: dict[str, Any] | None = None
    # group
    group_id: str | int | None = None
    # alias
    previous_id: str | int | None = None


class WireShared(Struct, gc=False, rename="camel"):
    """What a batch says for those of its messages that do not say it themselves."""

    sent_at: str | int | None = None
    context: WireContext | None = None
