"""Who is who: the rule by itself, then the service with two processes' worth of racing."""

from __future__ import annotations

import asyncio
from typing import Any

from services.chassis.bus import Bus
from services.ingest.domain.identities import by_strength, key_of, normal
from services.ingest.domain.model import Identity, IdentityType
from services.ingest.identity_cache import IdentityCache
from tests.ingest.conftest import Serve, Service, batch, custom, read_stream, tell_input


def test_emails_are_matched_without_case_and_blanks_and_nobody_is_named_by_nothing() -> None:
    assert normal(IdentityType.EMAIL, " Ann@Example.COM ") == Identity(IdentityType.EMAIL, "ann@example.com")
    assert normal(IdentityType.CUSTOMER_ID, " Ann ") == Identity(IdentityType.CUSTOMER_ID, "Ann")
    assert normal(IdentityType.CUSTOMER_ID, "0") == Identity(IdentityType.CUSTOMER_ID, "0")
    for type_, value in ((IdentityType.EMAIL, "  "), (IdentityType.IOS_ADVERTISING_ID, "00000000-0000-0000-0000-000000000000")):
        assert normal(type_, value) is None


def test_every_type_of_identity_has_its_strength() -> None:
    order = by_strength(Identity(type_, "x") for type_ in reversed(IdentityType))
    assert len(order) == len(IdentityType)
    assert order[0].type == IdentityType.CUSTOMER_ID
    assert all(one.type >= IdentityType.DEVICE_APPLICATION_STAMP or one.type >= 40 for one in order[-11:])


def test_accounts_do_not_share_identities() -> None:
    identity = Identity(IdentityType.EMAIL, "a@b.c")
    assert key_of(1, identity) != key_of(2, identity)


def test_the_cache_forgets_the_oldest_half() -> None:
    cache = IdentityCache(10)
    keys = [bytes([number]) for number in range(60)]
    for key in keys:
        cache.take({key: key[0] + 1}, 1)
        # Asked for again and again, this one stays.
        found, _ = cache.look_up([keys[0]], 1)
        assert found == {keys[0]: 1}
    found, missing = cache.look_up(keys, 1)
    assert found[keys[59]] == 60
    assert 35 < len(missing) < 50
    # Nothing of an earlier time is found.
    assert cache.look_up(keys, 2) == ({}, set(keys))


async def test_one_person_is_found_by_each_of_the_identities(serve: Serve, bus: Bus, database_url: str) -> None:
    sent: list[dict[str, Any]] = [
        {"user_identities": {"customer_id": "c-1"}, "device_info": {"ios_idfv": "v-1"}},
        {"device_info": {"ios_idfv": "v-1"}, "user_identities": {"email": "A@x.y"}},
        {"user_identities": {"email": "a@X.y "}},
        {"user_identities": {"customer_id": "c-1", "mobile_number": "1"}},
        {"user_identities": {"mobile_number": "1"}},
    ]
    async with serve(database_url=database_url, identity_cache=0) as service:
        for number, fields in enumerate(sent):
            assert (await service.events(batch("", custom(str(number)), **fields))).status_code == 202
    told = await read_stream(bus)
    assert len({event.mpid for event in told.events}) == 1
    added = [(identity.type, identity.value) for change in told.changes for identity in change.added_identities]
    assert sorted(added) == [(2, "c-1"), (8, "a@x.y"), (20, "1"), (41, "v-1")]


async def test_two_processes_that_meet_somebody_new_at_once_agree_on_the_mpid(serve: Serve, bus: Bus, postgres_url: str) -> None:
    people, rounds = 20, 8
    async with serve(database_url=postgres_url) as one, serve(database_url=postgres_url) as other:
        for round_ in range(rounds):
            # In different orders and with different identities beside, so that each process wins some and waits for the other.
            names = [f"{round_}-{number:02}" for number in range(people)]
            mine = [batch(name, custom(name), mp_deviceid=f"d-{name}") for name in names]
            yours = [batch("", custom(name), user_identities={"customer_id": name, "email": f"{name}@x.y"}) for name in reversed(names)]
            answers = await asyncio.gather(one.bulk(mine), other.bulk(yours), other.bulk(mine), one.bulk(yours))
            assert {answer.status_code for answer in answers} == {202}
    told = await read_stream(bus)
    assert len(told.events) == 4 * rounds * people
    by_name: dict[str, set[int]] = {}
    for event in told.events:
        by_name.setdefault(event.name, set()).add(event.mpid)
    assert len(by_name) == len({mpid for mpids in by_name.values() for mpid in mpids}) == rounds * people
    owner: dict[tuple[int, str], int] = {}
    for change in told.changes:
        for identity in change.added_identities:
            # Told once, by whoever entered it.
            assert owner.setdefault((identity.type, identity.value), change.mpid) == change.mpid
    assert sum(len(change.added_identities) for change in told.changes) == len(owner) == 3 * rounds * people
    for name, mpids in by_name.items():
        assert {owner[2, name], owner[8, f"{name}@x.y"], owner[51, f"d-{name}"]} == mpids


async def test_people_of_another_account_are_other_people(service: Service, bus: Bus) -> None:
    await tell_input(bus, 200, account_id=2, workspace_id=20, key="key-2", secret="secret-2")
    assert (await service.events(batch("c-1", custom("first")))).status_code == 202
    for _ in range(200):
        answer = await service.http.post("/v2/events", json=batch("c-1", custom("second")), auth=("key-2", "secret-2"))
        if answer.status_code == 202:
            break
        await asyncio.sleep(0.01)
    told = await read_stream(bus)
    assert len({event.mpid for event in told.events}) == 2
