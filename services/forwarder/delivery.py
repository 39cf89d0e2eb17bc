"""The one loop with rate, retries and faults: it works for one connection, whatever the partner, so that none waits for another.

A delivery is written down before it is sent, and sent again under the same request id until it is known what became of it: after a
crash, after a cut line, and after a fault that left it in doubt. What the partner answered with an error is dropped, and the difference
is computed afresh. semantics: Faults.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay, wait_random_exponential

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.forwarder.connectors.base import Answer, Connector, Purpose, Request
from services.forwarder.connectors.directory import Connectors
from services.forwarder.connectors.lines import PartnerLines
from services.forwarder.domain import forms
from services.forwarder.domain.ab_tests import id_downstream
from services.forwarder.domain.connections import Connection, Fault, State, faulted, paused
from services.forwarder.domain.faults import Cause, PartnerError
from services.forwarder.domain.identities import Identity, Kind, Presented
from services.forwarder.domain.reconcile import Waiting, difference
from services.forwarder.domain.retry import RetryPolicy
from services.forwarder.facts import fault_raised
from services.forwarder.lookups import NotAnswered
from services.forwarder.stores.deliveries import Delivery, Outcome, Work
from services.forwarder.stores.store import Store, Tx

log = logs.get(__name__)

_ASK_AGAIN_FIRST_SECONDS = 0.2
_ASK_AGAIN_MOST_SECONDS = 5.0


class People(Protocol):
    """Whoever knows the identities of people."""

    async def of(self, account_id: int, mpids: Sequence[int], kinds: Collection[Kind]) -> Mapping[int, Sequence[Identity]]:
        """The identities of these types, by person. Raises NotAnswered."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What every worker works with. `announced` is called when there is a fact in the outbox."""

    store: Store
    connectors: Connectors
    people: People
    lines: PartnerLines
    clock: Clock
    policy: RetryPolicy
    announced: Callable[[], None]


class Interrupted(Exception):
    """What is being sent is not wanted any more: the connection was paused or deleted, is another's now, or the process stops."""


class Worker:
    """Sends what there is to send for one connection. `more` tells it that there is more, `changed` that its state is another."""

    def __init__(self, connection_id: int, means: Means, hold: Callable[[int], Any], stopping: asyncio.Event) -> None:
        self.connection_id = connection_id
        self.more = asyncio.Event()
        self._changed = asyncio.Event()
        self._means = means
        # Whether the connection is this process's to work for, now and for a while.
        self._hold = hold
        self._stopping = stopping
        self._unanswered = 0

    def look(self) -> None:
        """The connection was changed, or the process stops: do not sleep over it."""
        self._changed.set()

    async def run(self) -> None:
        """Return when nothing is left to send, or nothing may be sent."""
        while not self._stopping.is_set():
            self.more.clear()
            self._changed.clear()
            if not await self._hold(self.connection_id):
                return
            async with self._means.store.read() as tx:
                work = await tx.deliveries.work(self.connection_id)
            if work is None:
                return
            logs.bind(account_id=work.connection.account_id)
            if not await self._step(work) and not self.more.is_set():
                return

    async def _step(self, work: Work) -> bool:
        """Do one thing; False: there was nothing to do."""
        closing = work.pending is not None and work.pending.purpose is Purpose.UNSUBSCRIBE
        if work.connection.state is not State.SENDING and not closing:
            return False
        connector = self._means.connectors.get(work.integration_key)
        try:
            if connector is None:
                raise PartnerError(Cause.REFUSED, f"This version knows no partner {work.integration_key}.", retry=False)
            form: Any = forms.read(connector.spec.form, work.values)
        except (forms.FormFaults, PartnerError) as fault:
            await self._give_up(work, work.pending, PartnerError(Cause.REFUSED, str(fault), retry=False), tries=0, in_doubt=True)
            return True
        if work.pending is not None:
            # It may have been sent before the process ended that wrote it.
            await self._deliver(work, work.pending, connector, form, in_doubt=True)
        elif not work.connection.subscribed:
            await self._deliver(work, await self._write(work, Purpose.SUBSCRIBE), connector, form)
        else:
            return await self._reconcile(work, connector, form)
        return True

    async def _reconcile(self, work: Work, connector: Connector[Any], form: Any) -> bool:
        """Tell the partner the next part of the difference; False: there is nobody to look at."""
        connection = work.connection
        async with self._means.store.read() as tx:
            waiting = await tx.deliveries.waiting(connection, connector.batch_of(form))
            if not waiting:
                return False
            # After the marks, never before: a change of audience or configuration marks everybody anew, and a mark that was read with
            # the state before it would be settled by what held before.
            fresh = await tx.deliveries.work(connection.id)
        if fresh is None or not _is_alike(fresh, work):
            return True
        work = fresh
        if connection.variation:
            waiting = _of_variation(work, waiting)
        inside = [person.mpid for person in waiting if person.member] if work.audience_live else []
        try:
            identities = await self._presented(connection.account_id, inside, connector, form)
        except NotAnswered as error:
            # Not the partner's fault: nothing is lost by waiting.
            wait = min(_ASK_AGAIN_MOST_SECONDS, _ASK_AGAIN_FIRST_SECONDS * 2 ** min(self._unanswered, 10))
            self._unanswered += 1
            log.warning("identities_wait", connection_id=connection.id, error=str(error), tries=self._unanswered)
            await self._sleep(wait)
            return True
        self._unanswered = 0
        found = difference(waiting, identities, audience_live=work.audience_live)

        async def prepare(tx: Tx) -> Delivery | None:
            await tx.deliveries.settle(connection.id, found.settled)
            if not found.changes:
                return None
            return await tx.deliveries.write(self._new(work, Purpose.CHANGES, found.changes), account_id=connection.account_id)

        delivery = await self._means.store.write(prepare)
        if delivery is not None:
            await self._deliver(work, delivery, connector, form)
        return True

    async def _presented(self, account_id: int, mpids: Sequence[int], connector: Connector[Any], form: Any) -> dict[int, list[Presented]]:
        if not mpids:
            return {}
        found = await self._means.people.of(account_id, mpids, connector.kinds_of(form))
        presented: dict[int, list[Presented]] = {}
        for mpid, identities in found.items():
            told = [one for identity in identities if (one := connector.present(identity, form)) is not None]
            if told:
                presented[mpid] = told
        return presented

    async def _write(self, work: Work, purpose: Purpose) -> Delivery:
        new = self._new(work, purpose, ())
        return await self._means.store.write(lambda tx: tx.deliveries.write(new, account_id=work.connection.account_id))

    def _new(self, work: Work, purpose: Purpose, changes: Sequence[Any]) -> Delivery:
        return new_delivery(work.connection, purpose, changes, audience_name=work.audience_name, now_ms=self._means.clock.now_ms())

    async def _deliver(self, work: Work, delivery: Delivery, connector: Connector[Any], form: Any, *, in_doubt: bool = False) -> None:
        """Send until the partner takes it, the retries are exhausted, or it is not wanted any more."""
        http, pace = await self._means.lines.of(work.connection.configuration_id, work.configuration_version, connector.spec)
        tries = delivery.tries
        policy = self._means.policy

        async def failed(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            message = error.message if isinstance(error, PartnerError) else ""
            log.info("delivery_tried", connection_id=delivery.connection_id, tries=tries, wait_seconds=round(state.upcoming_sleep, 3))
            await self._means.store.write(lambda tx: tx.deliveries.tried(delivery, tries=tries, in_doubt=in_doubt, message=message))

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, PartnerError) and error.retry),
            wait=_wait(policy),
            stop=stop_after_attempt(policy.tries) | stop_before_delay(policy.total_seconds),
            before_sleep=failed,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    if attempt.retry_state.attempt_number > 1:
                        await self._still_wanted(delivery)
                    await pace.wait(connector.rate_of(form))
                    tries += 1
                    try:
                        answer, subscription = await _call(connector, self._request(work, delivery), delivery, form, http)
                    except PartnerError as error:
                        # A refusal of this very request says that no earlier try of it was taken.
                        in_doubt = (in_doubt or error.in_doubt) and not (error.cause is Cause.REFUSED and not error.retry)
                        raise
        except PartnerError as error:
            await self._give_up(work, delivery, error, tries=tries, in_doubt=in_doubt)
        except Interrupted as why:
            await self._put_aside(delivery, tries=tries, in_doubt=in_doubt, message=str(why))
        else:
            await self._accepted(work, delivery, answer, subscription, tries=tries)

    def _request(self, work: Work, delivery: Delivery) -> Request:
        return Request(
            request_id=delivery.request_id,
            account_id=work.connection.account_id,
            audience_id=id_downstream(work.connection.audience_id, work.connection.ab_test_id, work.connection.variation_id),
            audience_name=delivery.audience_name,
            subscription=delivery.subscription,
            create_time_ms=delivery.create_time_ms,
            try_time_ms=self._means.clock.now_ms(),
        )

    async def _sleep(self, seconds: float) -> None:
        """Sleep so long, or until the connection is changed."""
        if self._stopping.is_set():
            return
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    async def _still_wanted(self, delivery: Delivery) -> None:
        self._changed.clear()
        if self._stopping.is_set():
            raise Interrupted("stopped")
        if not await self._hold(self.connection_id):
            raise Interrupted("another process took over")
        async with self._means.store.read() as tx:
            work = await tx.deliveries.work(self.connection_id)
        if work is None or work.pending is None or work.pending.id != delivery.id:
            raise Interrupted("given up")
        if work.connection.state is not State.SENDING and delivery.purpose is not Purpose.UNSUBSCRIBE:
            raise Interrupted(f"the connection is {work.connection.state}")

    async def _accepted(self, work: Work, delivery: Delivery, answer: Answer, subscription: Mapping[str, str], *, tries: int) -> None:
        connection, now_ms = work.connection, self._means.clock.now_ms()

        async def keep(tx: Tx) -> bool:
            rejected = len(answer.refusals)
            if not await tx.deliveries.finish(delivery, Outcome.ACCEPTED, tries=tries, message="", now_ms=now_ms, rejected=rejected):
                return False
            if delivery.purpose is Purpose.SUBSCRIBE:
                await tx.deliveries.subscribed(connection.id, subscription)
            elif delivery.purpose is Purpose.CHANGES:
                await tx.deliveries.accept(connection, delivery.changes, answer.refusals, now_ms=now_ms)
            if answer.suspended:
                await self._suspend(tx, connection, answer.suspended, now_ms)
            return True

        if await self._means.store.write(keep):
            oldest = min((change.since_ms for change in delivery.changes), default=now_ms)
            log.info(
                "delivery_accepted",
                connection_id=connection.id,
                purpose=delivery.purpose,
                changes=len(delivery.changes),
                refused=len(answer.refusals),
                tries=tries,
                lag_ms=now_ms - oldest,
            )

    async def _suspend(self, tx: Tx, connection: Connection, reason: str, now_ms: int) -> None:
        current = await tx.connections.get(connection.account_id, connection.id, lock=True)
        if current is not None and current.state is State.SENDING:
            await tx.save_connection(paused(current, reason=reason, now_ms=now_ms))
            log.info("connection_suspended", connection_id=connection.id)

    async def _give_up(self, work: Work, delivery: Delivery | None, error: PartnerError, *, tries: int, in_doubt: bool) -> None:
        """Fault the connection; a closing message is given up without."""
        connection, now_ms = work.connection, self._means.clock.now_ms()

        async def keep(tx: Tx) -> None:
            if delivery is not None and in_doubt and delivery.purpose is Purpose.CHANGES:
                await tx.deliveries.tried(delivery, tries=tries, in_doubt=True, message=error.message)
            elif delivery is not None:
                await tx.deliveries.finish(delivery, Outcome.FAILED, tries=tries, message=error.message, now_ms=now_ms)
            current = await tx.connections.get(connection.account_id, connection.id, lock=True)
            if current is None or current.state is not State.SENDING:
                return
            waiting = (await tx.connections.waiting_counts([connection.id])).get(connection.id, 0)
            after = faulted(current, Fault(error.cause, error.message, now_ms, waiting))
            await tx.save_connection(after)
            await tx.announce([fault_raised(after, waiting=waiting, now_ms=now_ms)], now_ms=now_ms)

        await self._means.store.write(keep)
        self._means.announced()
        log.warning("delivery_given_up", connection_id=connection.id, cause=error.cause.name, tries=tries, in_doubt=in_doubt)

    async def _put_aside(self, delivery: Delivery, *, tries: int, in_doubt: bool, message: str) -> None:
        """It is not sent any more for now: one in doubt stays pending, of another the difference is computed afresh."""
        now_ms = self._means.clock.now_ms()

        async def keep(tx: Tx) -> None:
            if in_doubt:
                await tx.deliveries.tried(delivery, tries=tries, in_doubt=True, message=message)
            else:
                await tx.deliveries.finish(delivery, Outcome.FAILED, tries=tries, message=message, now_ms=now_ms)

        await self._means.store.write(keep)
        log.info("delivery_put_aside", connection_id=delivery.connection_id, why=message, in_doubt=in_doubt)


async def _call(connector: Connector[Any], request: Request, delivery: Delivery, form: Any, http: Any) -> tuple[Answer, Mapping[str, str]]:
    match delivery.purpose:
        case Purpose.SUBSCRIBE:
            return Answer(), await connector.subscribe(request, form, http)
        case Purpose.UNSUBSCRIBE:
            await connector.unsubscribe(request, form, http)
            return Answer(), {}
        case Purpose.CHANGES:
            return await connector.send(request, delivery.changes, form, http), {}


def _of_variation(work: Work, waiting: Sequence[Waiting]) -> list[Waiting]:
    """The same people, members where they are members of the variation that is connected."""
    variation = work.connection.variation
    inside = work.ab_test.inside(variation, [person.mpid for person in waiting]) if work.ab_test else frozenset()
    return [replace(person, member=person.member and person.mpid in inside) for person in waiting]


def _is_alike(one: Work, other: Work) -> bool:
    """Whether the same is to be done, by the same form."""

    def of(work: Work) -> tuple[Any, ...]:
        return work.connection.state, work.connection.subscribed, work.configuration_version, work.pending is None

    return of(one) == of(other)


def new_delivery(connection: Connection, purpose: Purpose, changes: Sequence[Any], *, audience_name: str, now_ms: int) -> Delivery:
    """A delivery that was not written yet, under a request id of its own."""
    return Delivery(
        id=0,
        connection_id=connection.id,
        request_id=str(uuid.uuid4()),
        purpose=purpose,
        audience_name=audience_name,
        subscription=connection.subscription,
        changes=changes,
        outcome=Outcome.PENDING,
        in_doubt=False,
        tries=0,
        create_time_ms=now_ms,
    )


def _wait(policy: RetryPolicy) -> Callable[[RetryCallState], float]:
    jittered = wait_random_exponential(multiplier=policy.first_seconds, max=policy.most_seconds)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, PartnerError) and error.retry_after is not None:
            # The partner knows better than we do.
            return error.retry_after
        return jittered(state)

    return wait
