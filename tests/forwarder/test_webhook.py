"""What the Webhook connector sends, beside the protocol's own messages."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from services.chassis.clock import SystemClock
from services.forwarder.connectors.base import Refusal, Request
from services.forwarder.connectors.http import PartnerHttp
from services.forwarder.connectors.webhook import NAMES, Webhook, WebhookForm, signature
from services.forwarder.domain import forms
from services.forwarder.domain.faults import CAUSES, Cause, PartnerError
from services.forwarder.domain.identities import Encoding, Identity, Kind, Presented, present
from services.forwarder.domain.reconcile import Action, Change
from tests.fakes.webhook_partner import _TYPES

SECRET = "sixteen letters."
FORM = forms.read(WebhookForm, {"url": "https://example.com/hook", "secret": SECRET})
REQUEST = Request("1317071d-3342-4e1e-a691-84bd7e762bda", 7, 456, "Sports fans", {"list": "42"}, 1000, 2000)
CHANGED = {"type": "audience_membership_change_response", "id": "x"}


class Recorder:
    """Answers every request alike, and keeps it."""

    def __init__(self, said: Any) -> None:
        self.requests: list[httpx2.Request] = []
        self._said = said
        self._client = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer))
        self.http = PartnerHttp(self._client, causes=CAUSES, timeout_seconds=1, clock=SystemClock())

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return httpx2.Response(200, json=self._said)

    @property
    def message(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.requests[-1].content)
        return found


async def test_a_membership_change_is_the_protocols_message() -> None:
    recorder = Recorder(CHANGED)
    changes = [
        Change(2**63 - 1, Action.ADD, (Presented(2, "raw", "c1"), Presented(40, "raw", "AAAA"), Presented(60, "raw", "p1"))),
        Change(-5, Action.UPDATE, (Presented(8, "sha256", "ab"),)),
        Change(6, Action.DELETE, (Presented(8, "raw", "x@example.com"),)),
    ]
    await Webhook().send(REQUEST, changes, FORM, recorder.http)
    message = recorder.message
    profiles = message.pop("user_profiles")
    assert message == {
        "type": "audience_membership_change_request",
        "id": REQUEST.request_id,
        "timestamp_ms": 1000,
        "firehose_version": "3.2.0",
        "account": {"account_id": 7, "account_settings": {}},
    }
    audience = {"audience_id": 456, "audience_name": "Sports fans", "audience_subscription_settings": {"list": "42"}}
    assert profiles[0] == {
        "user_identities": [{"type": "customer", "encoding": "raw", "value": "c1"}],
        "device_identities": [{"type": "ios_advertising_id", "encoding": "raw", "value": "AAAA"}],
        "partner_identities": [{"type": "partner_id", "encoding": "raw", "value": "p1"}],
        "audiences": [audience | {"action": "add"}],
        # A 64-bit number does not survive in JSON readers that have doubles only.
        "mpid": "9223372036854775807",
    }
    assert profiles[1]["audiences"] == [audience | {"action": "attribute_update", "user_attributes": []}]
    assert (profiles[2]["audiences"], profiles[2]["mpid"]) == ([audience | {"action": "delete"}], "6")


async def test_a_request_is_signed_over_its_time_and_body() -> None:
    recorder = Recorder(CHANGED)
    await Webhook().send(REQUEST, [], FORM, recorder.http)
    sent = recorder.requests[0]
    wanted = hmac.new(SECRET.encode(), b"2000." + sent.content, hashlib.sha256).hexdigest()
    assert sent.headers["x-muster-signature"] == f"t=2000,v1={wanted}"
    assert sent.headers["x-muster-request-id"] == REQUEST.request_id
    assert sent.headers["content-type"] == "application/json"


async def test_a_later_try_is_the_same_body_under_a_fresh_signature() -> None:
    recorder = Recorder(CHANGED)
    for time_ms in (2000, 600_000):
        await Webhook().send(replace(REQUEST, try_time_ms=time_ms), [], FORM, recorder.http)
    first, second = recorder.requests
    assert first.content == second.content
    assert second.headers["x-muster-signature"].startswith("t=600000,")
    assert first.headers["x-muster-signature"] != second.headers["x-muster-signature"]


def test_a_signature_depends_on_secret_time_and_body() -> None:
    assert len({signature(secret, time, body) for secret in ("a", "b") for time in (1, 2) for body in (b"x", b"y")}) == 8


async def test_refusals_are_matched_to_the_people_who_were_sent() -> None:
    rejected = [{"mpid": "-5", "reason": "no"}, {"mpid": "99", "reason": "never sent"}, {"mpid": "x", "reason": "no number"}]
    recorder = Recorder(CHANGED | {"rejected_profiles": rejected})
    answer = await Webhook().send(REQUEST, [Change(-5, Action.ADD, (Presented(8, "raw", "a"),))], FORM, recorder.http)
    assert answer.refusals == [Refusal(-5, "no")]


@pytest.mark.parametrize("said", [{}, [], "OK", {"type": "other", "id": "x"}, CHANGED | {"suspend_subscription": "yes"}], ids=str)
async def test_a_2xx_that_is_not_the_protocols_answer_leaves_a_doubt(said: Any) -> None:
    with pytest.raises(PartnerError) as caught:
        await Webhook().send(REQUEST, [], FORM, Recorder(said).http)
    assert (caught.value.cause, caught.value.retry, caught.value.in_doubt) == (Cause.PARTNER_DOWN, True, True)


def test_every_type_of_identity_has_a_name_in_the_protocol() -> None:
    assert sorted(NAMES.values()) == sorted(name for group in _TYPES.values() for name in group)


def test_only_the_types_of_the_configuration_are_told() -> None:
    form = replace(FORM, identity_types=frozenset({Kind.EMAIL}))
    assert Webhook().present(Identity(Kind.IOS_ADVERTISING_ID, "AAAA"), form) is None
    assert Webhook().present(Identity(Kind.EMAIL, "A@b.c"), form) == Presented(Kind.EMAIL, "raw", "A@b.c")


@pytest.mark.parametrize(("encoding", "name"), [(Encoding.MD5, "md5"), (Encoding.SHA1, "sha1"), (Encoding.SHA256, "sha256")])
def test_a_hash_is_of_the_trimmed_value_in_lower_case(encoding: Encoding, name: str) -> None:
    wanted = hashlib.new(name, "jösé@example.com".encode()).hexdigest()
    assert present(Identity(Kind.EMAIL, "  JÖSÉ@Example.COM\n"), encoding) == Presented(Kind.EMAIL, name, wanted)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_an_email_that_is_a_hash_already_is_not_hashed_again(encoding: Encoding) -> None:
    known = hashlib.sha256(b"a@example.com").hexdigest().upper()
    assert present(Identity(Kind.EMAIL, known), encoding) == Presented(Kind.EMAIL, "sha256", known.lower())


def test_a_device_id_that_looks_like_a_hash_is_none() -> None:
    known = "A" * 32
    assert present(Identity(Kind.ANDROID_ID, known), Encoding.RAW) == Presented(Kind.ANDROID_ID, "raw", known)


def test_a_form_tells_all_of_its_faults_at_once() -> None:
    values = {
        "secret": "short",
        "identity_types": "email, nonsense",
        "encoding": "rot13",
        "batch_size": "0",
        "requests_per_second": "many",
        "colour": "red",
    }
    with pytest.raises(forms.FormFaults) as caught:
        forms.read(WebhookForm, values)
    assert {(fault.key, fault.reason) for fault in caught.value.faults} == {
        ("colour", forms.UNKNOWN),
        ("url", forms.MISSING),
        ("secret", forms.INVALID),
        ("identity_types", forms.INVALID),
        ("encoding", forms.INVALID),
        ("batch_size", forms.INVALID),
        ("requests_per_second", forms.INVALID),
    }


def test_a_form_takes_defaults_for_what_is_absent_or_empty() -> None:
    form = forms.read(WebhookForm, {"url": " https://example.com ", "secret": SECRET, "batch_size": ""})
    assert (form.url, form.batch_size, form.encoding, form.identity_types) == ("https://example.com", 100, "raw", frozenset())


@pytest.mark.parametrize("text", ["1_0", "٣", "1.0", "0x10", " ", "1e3", "10001", "-1", "\0"])
def test_a_number_is_written_in_plain_digits_within_its_bounds(text: str) -> None:
    values = {"url": "https://example.com", "secret": SECRET, "requests_per_second": text}
    if text == " ":
        assert forms.read(WebhookForm, values).requests_per_second == 0
        return
    with pytest.raises(forms.FormFaults):
        forms.read(WebhookForm, values)
