"""Webhook: any server that speaks the partner protocol (firehose 3.2.0), each request signed with a shared secret.

A change of a person's identities is told as `attribute_update`: the profile then lists all identities of now,
in place of those told before.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from services.forwarder.connectors.base import Answer, Connector, Refusal, Request, Spec
from services.forwarder.connectors.http import PartnerHttp, is_public, literal_address
from services.forwarder.domain.faults import Cause, PartnerError
from services.forwarder.domain.forms import INVALID, TARGET_REFUSED, FormFault, SettingType, setting
from services.forwarder.domain.identities import DEVICE_KINDS, PARTNER_KINDS, USER_KINDS, Encoding, Identity, Kind, Presented, present
from services.forwarder.domain.reconcile import Action, Change

FIREHOSE_VERSION = "3.2.0"
SIGNATURE = "X-Muster-Signature"
REQUEST_ID = "X-Muster-Request-Id"
BATCH_MAX = 1_000

# What the protocol calls each type; those that it does not know go by our own names.
NAMES: dict[int, str] = {int(kind): kind.name.lower() for kind in Kind} | {
    Kind.CUSTOMER_ID: "customer",
    Kind.OTHER_2: "other2",
    Kind.OTHER_3: "other3",
    Kind.OTHER_4: "other4",
    Kind.OTHER_5: "other5",
    Kind.OTHER_6: "other6",
    Kind.OTHER_7: "other7",
    Kind.OTHER_8: "other8",
    Kind.OTHER_9: "other9",
    Kind.OTHER_10: "other10",
}
ACTIONS = {Action.ADD: "add", Action.UPDATE: "attribute_update", Action.DELETE: "delete"}
_GROUPS = (("user_identities", USER_KINDS), ("device_identities", DEVICE_KINDS), ("partner_identities", PARTNER_KINDS))
_GROUP_OF = {int(kind): group for group, kinds in _GROUPS for kind in kinds}


@dataclass(frozen=True, slots=True)
class WebhookForm:
    """What a configuration says."""

    url: str = setting("url", "URL", "Where requests are posted; https.", required=True)
    secret: str = setting(
        "secret",
        "Secret",
        "Signs each request (HMAC-SHA256); at least 16 characters.",
        SettingType.SECRET,
        required=True,
        least=16,
        most=500,
    )
    identity_types: frozenset[Kind] = setting(
        "identity_types", "Identity types", "The types to send, with commas between; empty: all.", SettingType.IDENTITY_TYPES
    )
    encoding: str = setting(
        "encoding",
        "Encoding",
        "How identities of users are sent: raw, or trimmed, in lower case and hashed.",
        SettingType.CHOICE,
        default=Encoding.RAW.value,
        choices=tuple(encoding.value for encoding in Encoding),
    )
    device_encoding: str = setting(
        "device_encoding",
        "Encoding of devices",
        "The same for identities of devices.",
        SettingType.CHOICE,
        default=Encoding.RAW.value,
        choices=tuple(encoding.value for encoding in Encoding),
    )
    batch_size: int = setting(
        "batch_size", "Batch size", "The most people in one request.", SettingType.INTEGER, default="100", least=1, most=BATCH_MAX
    )
    requests_per_second: int = setting(
        "requests_per_second",
        "Requests per second",
        "The most requests a second; 0: no limit.",
        SettingType.INTEGER,
        default="0",
        least=0,
        most=10_000,
    )


class _Rejected(msgspec.Struct):
    mpid: str
    reason: str


class _MembershipAnswer(msgspec.Struct):
    type: Literal["audience_membership_change_response"]
    id: str
    timestamp_ms: int = 0
    suspend_subscription: bool = False
    # Ours, beside the protocol: the people that the partner does not take, the others being taken.
    rejected_profiles: list[_Rejected] = []


class _SubscriptionAnswer(msgspec.Struct):
    type: Literal["audience_subscription_response"]
    id: str
    timestamp_ms: int = 0
    audience_subscription_settings: dict[str, str] = {}


class _RegistrationAnswer(msgspec.Struct):
    type: Literal["module_registration_response"]


A = TypeVar("A")


class Webhook(Connector[WebhookForm]):
    """The partner protocol over HTTPS."""

    spec = Spec(
        key="webhook",
        name="Webhook",
        description="Sends the changes of an audience, signed, to a server of your own that speaks the partner protocol.",
        accepts=frozenset(Kind),
        form=WebhookForm,
        on_delete="The server is told that the subscription ended; the people it has stay there until it removes them itself.",
        batch_max=BATCH_MAX,
    )

    def check(self, form: WebhookForm, *, allow_private: bool) -> list[FormFault]:
        return url_faults("url", form.url, allow_private=allow_private)

    def batch_of(self, form: WebhookForm) -> int:
        return form.batch_size

    def rate_of(self, form: WebhookForm) -> float | None:
        return form.requests_per_second or None

    def kinds_of(self, form: WebhookForm) -> frozenset[Kind]:
        return form.identity_types or self.spec.accepts

    def present(self, identity: Identity, form: WebhookForm) -> Presented | None:
        if identity.kind not in self.kinds_of(form):
            return None
        if identity.kind in PARTNER_KINDS:
            return present(identity, Encoding.RAW)
        return present(identity, Encoding(form.device_encoding if identity.kind in DEVICE_KINDS else form.encoding))

    async def subscribe(self, request: Request, form: WebhookForm, http: PartnerHttp) -> Mapping[str, str]:
        answer = await self._post(_subscription(request, "add"), _SubscriptionAnswer, request, form, http)
        return answer.audience_subscription_settings

    async def unsubscribe(self, request: Request, form: WebhookForm, http: PartnerHttp) -> None:
        await self._post(_subscription(request, "delete"), _SubscriptionAnswer, request, form, http)

    async def send(self, request: Request, changes: Sequence[Change], form: WebhookForm, http: PartnerHttp) -> Answer:
        message = _header("audience_membership_change_request", request) | {
            "user_profiles": [_profile(change, request) for change in changes]
        }
        answer = await self._post(message, _MembershipAnswer, request, form, http)
        sent = {str(change.mpid): change.mpid for change in changes}
        refusals = [Refusal(sent[one.mpid], one.reason) for one in answer.rejected_profiles if one.mpid in sent]
        suspended = "The partner suspended the subscription (suspend_subscription)." if answer.suspend_subscription else None
        return Answer(refusals, suspended)

    async def test(self, request: Request, form: WebhookForm, http: PartnerHttp) -> str:
        # The protocol's question for what a partner is: it changes nothing there.
        message = _header("module_registration_request", request)
        del message["account"]
        await self._post(message, _RegistrationAnswer, request, form, http)
        return "The server answered, and took the signature."

    async def _post(self, message: dict[str, Any], answer: type[A], request: Request, form: WebhookForm, http: PartnerHttp) -> A:
        body = msgspec.json.encode(message)
        headers = {
            "Content-Type": "application/json",
            REQUEST_ID: request.request_id,
            SIGNATURE: signature(form.secret, request.try_time_ms, body),
        }
        reply = await http.post(form.url, content=body, headers=headers)
        try:
            return msgspec.json.decode(reply.body, type=answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise PartnerError(
                Cause.PARTNER_DOWN, f"{reply.status}, but the answer cannot be understood: {fault}", retry=True, in_doubt=True
            ) from None


def signature(secret: str, time_ms: int, body: bytes) -> str:
    """The value of the signature header: HMAC-SHA256 of `<time in ms>.<body>`."""
    digest = hmac.new(secret.encode(), b"%d." % time_ms + body, hashlib.sha256).hexdigest()
    return f"t={time_ms},v1={digest}"


def url_faults(key: str, url: str, *, allow_private: bool) -> list[FormFault]:
    """What is wrong with a target as far as it shows without resolving its name; that is checked with each request."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return [FormFault(key, "Must be a URL such as https://example.com/muster.", INVALID)]
    if parts.scheme not in ("http", "https") or not host or any(letter.isspace() or not letter.isprintable() for letter in url):
        return [FormFault(key, "Must be a URL such as https://example.com/muster.", INVALID)]
    faults = []
    if parts.username is not None or parts.fragment:
        faults.append(FormFault(key, "Must hold neither a user name nor a fragment.", INVALID))
    if allow_private:
        return faults
    if parts.scheme != "https":
        faults.append(FormFault(key, "Must be https: identities are personal data.", INVALID))
    address = literal_address(host)
    if (address is not None and not is_public(address)) or host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        faults.append(FormFault(key, "The address is not a public one, and is not called.", TARGET_REFUSED))
    return faults


def _header(type: str, request: Request) -> dict[str, Any]:
    return {
        "type": type,
        "id": request.request_id,
        "timestamp_ms": request.create_time_ms,
        "firehose_version": FIREHOSE_VERSION,
        "account": {"account_id": request.account_id, "account_settings": {}},
    }


def _subscription(request: Request, action: str) -> dict[str, Any]:
    named = {"audience_id": request.audience_id, "audience_name": request.audience_name, "action": action}
    return _header("audience_subscription_request", request) | named


def _profile(change: Change, request: Request) -> dict[str, Any]:
    profile: dict[str, Any] = {group: [] for group, _ in _GROUPS}
    for kind, encoding, value in change.identities:
        profile[_GROUP_OF[kind]].append({"type": NAMES[kind], "encoding": encoding, "value": value})
    audience: dict[str, Any] = {
        "audience_id": request.audience_id,
        "audience_name": request.audience_name,
        "audience_subscription_settings": request.subscription,
        "action": ACTIONS[change.action],
    }
    if change.action is Action.UPDATE:
        audience["user_attributes"] = []
    profile["audiences"] = [audience]
    profile["mpid"] = str(change.mpid)
    return profile
