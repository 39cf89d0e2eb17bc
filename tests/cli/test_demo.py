"""The demo: its people, its sender's requests, its partner, and a small run of the whole."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from cli.demo import people as crowds
from cli.demo.partner import Partner
from cli.demo.people import Person
from cli.demo.sender import BATCHES_PER_REQUEST, Sender
from cli.demo.show import percentile
from tests.cli.running import Run

NOW_MS = 1_725_887_400_000


def test_both_edges_of_the_72_hours_belong_to_them() -> None:
    person = Person(1, NOW_MS - crowds.WINDOW_MS)
    assert person.is_member(NOW_MS)
    assert not person.is_member(NOW_MS + 1)
    assert Person(1, NOW_MS).is_member(NOW_MS)
    assert not Person(1, NOW_MS + 1).is_member(NOW_MS)


def test_the_third_session_ends_the_membership_and_older_than_the_look_back_does_not_count() -> None:
    person = Person(1, NOW_MS, [NOW_MS - 2, NOW_MS - 1])
    assert person.is_member(NOW_MS)
    person.sessions_ms.append(NOW_MS - crowds.LOOK_BACK_MS - 1)
    assert person.is_member(NOW_MS)
    person.sessions_ms.append(NOW_MS)
    assert not person.is_member(NOW_MS)


def test_who_never_installed_does_not_belong() -> None:
    assert not Person(1, None).is_member(NOW_MS)


def test_a_crowd_has_15_events_each_told_once_and_none_in_the_future() -> None:
    for person in crowds.crowd(500, NOW_MS, seed=1):
        told = [*person.first_events(), *person.later_events()]
        assert len(told) == 15
        assert all(NOW_MS - crowds.LOOK_BACK_MS <= time_ms <= NOW_MS for _, time_ms, _ in told)


def test_the_same_seed_makes_the_same_crowd() -> None:
    assert crowds.crowd(50, NOW_MS, seed=7) == crowds.crowd(50, NOW_MS, seed=7)


def test_those_who_depart_do_so_one_after_the_other() -> None:
    people = crowds.departing(range(5), NOW_MS + 1_000, NOW_MS + 5_000)
    assert len(crowds.members(people, NOW_MS)) == 5
    assert len(crowds.members(people, NOW_MS + 3_000)) == 3
    assert crowds.members(people, NOW_MS + 5_001) == set()


def test_a_full_request_of_the_demo_is_json_and_below_the_limit() -> None:
    sender = Sender("http://127.0.0.1:1", app_key=("", ""), feed_key=("", ""))
    people = crowds.crowd(BATCHES_PER_REQUEST, NOW_MS, seed=1)
    body = "[" + ",".join(sender._batch(person, person.first_events()) for person in people) + "]"
    assert len(body) < 256 * 1024
    batches = json.loads(body)
    assert len({batch["source_request_id"] for batch in batches}) == len(people)
    assert sum(len(batch["events"]) for batch in batches) == sum(len(person.first_events()) for person in people)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile([5], 0.99) == 5


@pytest.fixture
async def partner() -> AsyncIterator[Partner]:
    partner = Partner()
    await partner.start()
    yield partner
    await partner.stop()


async def post(partner: Partner, request_id: str, message: dict[str, Any], *, secret: str | None = None, at: float | None = None) -> int:
    body = json.dumps(message).encode()
    stamp = str(round((at or time.time()) * 1000))
    signature = hmac.new((secret or partner.secret).encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    headers = {"X-Muster-Signature": f"t={stamp},v1={signature}", "X-Muster-Request-Id": request_id}
    async with httpx2.AsyncClient(trust_env=False) as client:
        return int((await client.post(partner.url, content=body, headers=headers)).status_code)


def change(mpid: str, customer: str, action: str) -> dict[str, Any]:
    profile = {"mpid": mpid, "user_identities": [{"type": "customer", "value": customer}], "audiences": [{"action": action}]}
    return {"type": "audience_membership_change_request", "user_profiles": [profile]}


async def test_the_partner_takes_a_repeated_request_once(partner: Partner) -> None:
    for _ in range(2):
        assert await post(partner, "one", change("1", "ada", "add")) == 200
    assert partner.customers() == {"ada"}
    assert (partner.counts.adds, partner.counts.doubled, partner.counts.repeated_requests) == (1, 0, 1)


async def test_the_partner_counts_what_changes_nothing(partner: Partner) -> None:
    await post(partner, "one", change("1", "ada", "add"))
    await post(partner, "two", change("1", "ada", "add"))
    await post(partner, "three", change("1", "ada", "delete"))
    await post(partner, "four", change("1", "ada", "delete"))
    assert (partner.counts.doubled, partner.customers()) == (2, set())


async def test_the_partner_refuses_another_secret_and_an_old_signature(partner: Partner) -> None:
    assert await post(partner, "one", change("1", "ada", "add"), secret="another") == 401
    assert await post(partner, "one", change("1", "ada", "add"), at=time.time() - 3600) == 401
    assert (partner.counts.refused_requests, partner.customers()) == (2, set())


@pytest.mark.timeout(240)
def test_a_small_demo_is_right_and_says_so(muster: Run) -> None:
    ended = muster("demo", "--people", 1_000, "--json")
    assert ended.exit_code == 0, ended.err
    figures = ended.document
    assert figures["differences"] == []
    assert (figures["lost"], figures["doubled"]) == (0, 0)
    assert figures["members_counted"] == figures["members_api"] == figures["members_webhook"] > 0
    assert figures["left_by_session"] > 0
    assert figures["left_by_time"] == 100
