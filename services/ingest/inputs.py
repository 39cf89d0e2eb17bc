"""The inputs that may send data: a copy in memory of what definition tells, in full at the start of the process and followed from there."""

from __future__ import annotations

import asyncio
import hmac
from hashlib import sha256
from uuid import uuid4

from google.protobuf.message import DecodeError
from msgspec import Struct
from muster.definition.v1 import account_pb2, facts_pb2

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.consumer import Consumer, Hopeless, Message, PullSubscription
from services.chassis.errors import NotFound, PermissionDenied, Unavailable
from services.chassis.streams import DEFINITIONS
from services.ingest.domain.identities import USUAL, Rules

log = logs.get(__name__)

_SUBJECTS = ("muster.definitions.*.input.*", "muster.definitions.*.account.*")
# The copy is of this process, so is its consumer; the server forgets it some time after the process is gone.
_INACTIVE_SECONDS = 300
_PLATFORMS = {
    account_pb2.PLATFORM_IOS: "iOS",
    account_pb2.PLATFORM_ANDROID: "Android",
    account_pb2.PLATFORM_WEB: "web",
    account_pb2.PLATFORM_DESKTOP: "desktop",
    account_pb2.PLATFORM_TVOS: "tvOS",
    account_pb2.PLATFORM_ROKU: "roku",
    account_pb2.PLATFORM_SMART_TV: "smart_tv",
    account_pb2.PLATFORM_FIRE_TV: "fire_tv",
    account_pb2.PLATFORM_XBOX: "xbox",
    account_pb2.PLATFORM_ALEXA: "alexa",
    account_pb2.PLATFORM_OUT_OF_BAND: "out_of_band",
}


class UnknownInput(NotFound):
    """The account has no such input, or it is inactive."""


class WrongKey(PermissionDenied):
    """There is no active input of this key and secret."""


class InputsUnknown(Unavailable):
    """The process has just started and does not know the inputs yet."""


class Input(Struct, frozen=True):
    """Where data comes from. `platform` is spelt as devices spell it; empty for a feed."""

    account_id: int
    workspace_id: int
    input_id: int
    api_key: str
    secret_sha256: bytes
    platform: str
    active: bool
    version: int
    # The key alone may send, by the Segment API.
    allow_key_only: bool = False
    # How many may come; 0: as many as come.
    events_per_second: int = 0
    events_per_day: int = 0


class Inputs:
    """The copy. Until it is complete an unknown key or input is told from a wrong one; a part of the app."""

    def __init__(self, bus: Bus, *, service: str) -> None:
        name = f"{service}-inputs-{uuid4().hex[:12]}"
        self._consumer = Consumer(bus, DEFINITIONS, name, self.handle, service=service, filter_subjects=_SUBJECTS)
        self._consumer.pull = PullSubscription(bus, DEFINITIONS, name, filter_subjects=_SUBJECTS, inactive_seconds=_INACTIVE_SECONDS)
        self._by_id: dict[int, Input] = {}
        self._by_key: dict[str, Input] = {}
        self._rules: dict[int, Rules] = {}
        self._complete = asyncio.Event()

    @property
    def complete(self) -> bool:
        """Whether all that was told before the start is known."""
        return self._complete.is_set()

    def rules_of(self, account_id: int) -> Rules:
        """Who is who in an account."""
        return self._rules.get(account_id, USUAL)

    def authenticated(self, api_key: str, secret: str) -> Input:
        """The active input of this key and secret. Raises WrongKey, or InputsUnknown while the copy is not complete."""
        known = self._by_key.get(api_key)
        # Compared in any case, so that the time tells nothing of which keys there are.
        right = hmac.compare_digest(known.secret_sha256 if known else b"", sha256(secret.encode()).digest())
        if known is not None and right and known.active:
            return known
        if not self.complete:
            raise InputsUnknown("The inputs are not known yet.")
        raise WrongKey("There is no active input of this key and secret.")

    def of_write_key(self, api_key: str) -> Input:
        """The active input of this key, if its key alone may send. Raises WrongKey, or InputsUnknown while the copy is not complete."""
        known = self._by_key.get(api_key)
        if known is not None and known.active and known.allow_key_only:
            return known
        if not self.complete:
            raise InputsUnknown("The inputs are not known yet.")
        raise WrongKey(
            "There is no active input of this write key, or its key alone may not send: `muster input update --segment` allows it."
        )

    def of_account(self, account_id: int, input_id: int) -> Input:
        """An active input of an account. Raises UnknownInput, or InputsUnknown while the copy is not complete."""
        known = self._by_id.get(input_id)
        if known is not None and known.account_id == account_id and known.active:
            return known
        if not self.complete:
            raise InputsUnknown("The inputs are not known yet.")
        raise UnknownInput("The account has no active input of this number.", input_id=input_id)

    async def start(self) -> None:
        """Begin to read."""
        await self._consumer.start()

    async def run(self) -> None:
        """Read what there is, then follow."""
        completing = asyncio.create_task(self._until_complete(), name="inputs complete")
        try:
            await self._consumer.run()
        finally:
            completing.cancel()

    async def stop(self) -> None:
        """Stop reading."""
        await self._consumer.stop()

    async def handle(self, messages: list[Message]) -> None:
        """Take over what definition tells, unless something newer is known."""
        for message in messages:
            try:
                fact = facts_pb2.DefinitionFact.FromString(message.data)
            except DecodeError as error:
                raise Hopeless(f"not a DefinitionFact: {error}") from None
            if fact.HasField("account"):
                self._rules[fact.account_id] = _rules_of(fact.account)
            elif fact.HasField("input"):
                self._take(fact)

    def _take(self, fact: facts_pb2.DefinitionFact) -> None:
        told = fact.input.input
        known = self._by_id.get(told.input_id)
        if known is not None and known.version >= fact.version:
            return
        if known is not None and self._by_key.get(known.api_key) is known:
            del self._by_key[known.api_key]
        taken = Input(
            account_id=fact.account_id,
            workspace_id=told.workspace_id,
            input_id=told.input_id,
            api_key=told.api_key,
            secret_sha256=fact.input.api_secret_sha256,
            platform=_PLATFORMS.get(told.platform, ""),
            active=told.state == account_pb2.INPUT_STATE_ACTIVE,
            version=fact.version,
            allow_key_only=told.allow_key_only,
            events_per_second=told.events_per_second,
            events_per_day=told.events_per_day,
        )
        self._by_id[taken.input_id] = taken
        self._by_key[taken.api_key] = taken

    async def _until_complete(self) -> None:
        while not self.complete:
            try:
                if await self._consumer.pull.pending() == 0:
                    self._complete.set()
                    log.info("inputs_known", count=len(self._by_id))
                    return
            except Exception as error:
                # NATS is away or the consumer is made anew: nothing is known of what is missing.
                log.debug("inputs_not_known", error=repr(error))
            await asyncio.sleep(0.1)


def _rules_of(account: account_pb2.Account) -> Rules:
    if not account.HasField("identity_rules"):
        return USUAL
    told = account.identity_rules
    return Rules(
        priority=tuple(int(rule.type) for rule in told.rules),
        most={int(rule.type): rule.max_values for rule in told.rules if rule.max_values},
        replacing=frozenset(int(rule.type) for rule in told.rules if rule.max_values),
        moving=frozenset(int(rule.type) for rule in told.rules if rule.moves),
        merging=not told.keep_apart,
    )
