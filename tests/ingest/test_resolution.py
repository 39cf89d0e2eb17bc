"""Who is who: the rules by themselves, with literals, and compared with the plain world of `naive_resolution`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.identities import Rules
from services.ingest.domain.model import IdentityType
from services.ingest.domain.resolution import Decision, Held, Person, decide
from tests.ingest.naive_resolution import World

_TYPES = {
    "customer": IdentityType.CUSTOMER_ID,
    "email": IdentityType.EMAIL,
    "phone": IdentityType.MOBILE_NUMBER,
    "device": IdentityType.IOS_VENDOR_ID,
    "push": IdentityType.PUSH_TOKEN,
}


def type_of(name: str) -> int:
    """`email 2` is an e-mail address."""
    return int(_TYPES[name.split(maxsplit=1)[0]])


def person(*names: str, mpid: int = 0, claims: Sequence[str] = (), losses: Sequence[str] = ()) -> Person:
    claimed = [(type_of(name), name.encode()) for name in claims]
    return Person(mpid, [type_of(name) for name in names], [name.encode() for name in names], claimed, [name.encode() for name in losses])


class People:
    """Everybody there is; what is decided is entered as the service enters it."""

    def __init__(self, rules: Rules | None = None, **held: str) -> None:
        self.rules = rules or Rules()
        self.owners: dict[bytes, int] = {}
        # The round that entered each.
        self.ages: dict[bytes, int] = {}
        self.round = 0
        self.into: dict[int, int] = {}
        self.numbers = itertools.count(100)
        for mpid, names in held.items():
            for name in names.split(", "):
                self.owners[name.encode()] = int(mpid[1:])
                self.ages[name.encode()] = len(self.ages) - 100

    def decide(self, *people: Person) -> Decision:
        self.round += 1
        held: dict[int, dict[bytes, Held]] = {}
        keys = {key for one in people for key in (*one.keys, *(key for _, key in one.claims), *one.losses)}
        into = {one.mpid: self.into[one.mpid] for one in people if one.mpid in self.into}
        known = {key: owner for key, owner in self.owners.items() if key in keys}
        while True:
            decision = decide(people, known, lambda: next(self.numbers), held=held, into=into, rules=self.rules)
            if not decision.needs:
                break
            for mpid in decision.needs:
                assert mpid not in held, "asked for again"
                held[mpid] = {key: (type_of(key.decode()), self.ages[key]) for key, owner in self.owners.items() if owner == mpid}
        self._enter(decision)
        return decision

    def _enter(self, decision: Decision) -> None:
        # Whoever holds in memory whose identities are must hear of all that changed hands.
        of_ended = {merge.mpid for merge in decision.merges}
        changed = decision.carried.keys() | decision.moved.keys() | decision.removed.keys() | decision.returned.keys()
        assert {key for key, owner in self.owners.items() if owner in of_ended} <= changed
        for merge in decision.merges:
            assert merge.mpid not in self.into
            assert merge.into not in self.into
            self.into = {mpid: merge.into if into == merge.mpid else into for mpid, into in self.into.items()} | {merge.mpid: merge.into}
        for key, (before, after) in decision.moved.items():
            assert self.owners[key] == before != after
            self.owners[key] = after
            self.ages[key] = self.round
        for key, owner in decision.returned.items():
            assert self.into.get(self.owners[key], self.owners[key]) == owner
            self.ages[key] = self.round
        for key, owner in decision.removed.items():
            assert self.owners.pop(key) == owner
        for key, mpid in decision.added.items():
            assert key not in self.owners
            self.owners[key] = mpid
            self.ages[key] = self.round
        self.owners = {key: self.into.get(owner, owner) for key, owner in self.owners.items()}
        for key, owner in decision.carried.items():
            assert self.owners[key] == owner

    def of(self, mpid: int) -> list[str]:
        return sorted(key.decode() for key, owner in self.owners.items() if owner == mpid)


def test_the_strongest_known_identity_decides_and_the_unknown_ones_are_added() -> None:
    people = People(p7="customer 1")
    assert people.decide(person("customer 1", "email", "device")).mpids == [7]
    assert people.of(7) == ["customer 1", "device", "email"]


def test_somebody_new_is_the_same_for_all_batches_of_a_round() -> None:
    people = People()
    told = people.decide(person("customer", "device"), person("device"), person("email"), person("phone", "customer"))
    assert told.mpids == [100, 100, 101, 100]
    assert people.of(100) == ["customer", "device", "phone"]


def test_deciding_again_gives_the_same_new_person() -> None:
    batches = [person("customer", "device"), person("email")]
    numbers = itertools.count(100)
    assert decide(batches, {}, lambda: next(numbers)).mpids == [100, 101]
    # Another process was faster with the customer: the device follows, the other one stays who it was.
    again = decide(batches, {b"customer": 9}, lambda: next(numbers))
    assert (again.mpids, again.added) == ([9, 101], {b"device": 9, b"email": 101})


def test_a_given_mpid_is_the_person_whatever_the_identities_say() -> None:
    people = People(p7="customer, email")
    assert people.decide(person("customer", "email", "phone", mpid=5)).mpids == [5]
    assert (people.of(5), people.of(7), people.into) == (["phone"], ["customer", "email"], {})


def test_who_logs_in_after_using_the_app_unknown_is_who_used_it() -> None:
    people = People(p7="device")
    assert people.decide(person("customer", "device")).mpids == [7]
    assert people.of(7) == ["customer", "device"]


def test_a_known_customer_who_logs_in_on_a_new_device_was_who_used_it_unknown() -> None:
    people = People(p1="customer, email", p2="device")
    told = people.decide(person("customer", "device"))
    assert (told.mpids, people.into, people.of(1)) == ([1], {2: 1}, ["customer", "device", "email"])
    # What is told of the one who ended is told of the one who stays.
    assert people.decide(person(mpid=2), person("device")).mpids == [1, 1]


def test_a_second_customer_on_a_shared_device_is_somebody_else() -> None:
    people = People(p1="customer 1, device")
    told = people.decide(person("customer 2", "device", "email"))
    assert (told.mpids, people.into) == ([100], {})
    assert (people.of(1), people.of(100)) == (["customer 1", "device"], ["customer 2", "email"])
    # Also with another e-mail address only; without any user identity it is whose device it is.
    people = People(p1="email 1, device")
    assert people.decide(person("email 2", "device"), person("device")).mpids == [100, 1]


def test_a_device_brings_no_two_people_together_who_have_user_identities() -> None:
    people = People(p1="customer", p2="email, device")
    told = people.decide(person("customer", "device"))
    assert (told.mpids, people.into, people.of(2)) == ([1], {}, ["device", "email"])


def test_a_user_identity_does_unless_they_are_two_customers() -> None:
    people = People(p1="customer 1", p2="email, device", p3="customer 3, phone")
    told = people.decide(person("customer 1", "email", "phone"))
    assert (told.mpids, people.into) == ([1], {2: 1})
    assert people.of(1) == ["customer 1", "device", "email"]
    assert people.of(3) == ["customer 3", "phone"]


def test_one_too_many_of_its_type_takes_the_place_of_the_oldest() -> None:
    people = People(Rules(most={type_of("email"): 2}, replacing=frozenset({type_of("email")})), p1="customer, email 1, email 2")
    people.decide(person("customer", "email 3"))
    assert people.of(1) == ["customer", "email 2", "email 3"]
    # It comes back, and goes, and what is entered is right all the same.
    people.decide(person("customer", "email 4"), person("customer", "email 2"))
    assert people.of(1) == ["customer", "email 2", "email 4"]
    people.decide(person("customer", "email 5"), person("customer", "email 2"))
    assert people.of(1) == ["customer", "email 2", "email 5"]


def test_a_second_customer_id_stays_beside_the_first_where_the_sender_says_so() -> None:
    people = People(p1="customer 1")
    people.decide(person("customer 2", mpid=1))
    assert people.of(1) == ["customer 1", "customer 2"]


def test_a_push_token_goes_over_to_whoever_uses_it() -> None:
    people = People(p1="customer 1, push", p2="customer 2")
    told = people.decide(person("customer 2", "push"))
    assert told.moved == {b"push": (1, 2)}
    assert (people.of(1), people.of(2)) == (["customer 1"], ["customer 2", "push"])


def test_who_is_said_to_be_one_is_one_also_with_two_customer_ids() -> None:
    people = People(p1="customer 1, email 1", p2="customer 2, device")
    assert people.decide(person("customer 1", claims=["customer 2", "customer 3"])).mpids == [1]
    assert people.of(1) == ["customer 1", "customer 2", "device", "email 1"]
    assert people.into == {2: 1}
    # Who is new is whoever is said to be the same.
    assert people.decide(person("customer 4", claims=["customer 1"])).mpids == [1]
    assert "customer 1" in people.of(1)


def test_an_identity_that_somebody_has_no_longer_is_nobodys() -> None:
    people = People(p1="customer 1, email 1", p2="email 2")
    told = people.decide(person("customer 1", "email 3", losses=["email 1", "email 2"]), person("email 1"))
    assert people.of(1) == ["customer 1", "email 3"]
    assert people.of(2) == ["email 2"]
    assert told.mpids == [1, 100]


def test_people_can_be_kept_apart() -> None:
    people = People(Rules(merging=False), p1="customer", p2="email")
    assert people.decide(person("customer", "email")).mpids == [1]
    assert people.into == {}


def test_a_chain_of_people_in_one_round_ends_in_one() -> None:
    people = People(p1="email 1", p2="email 2", p3="customer")
    told = people.decide(person("email 1", "email 2"), person("customer", "email 1"), person("email 2", "phone"))
    assert told.mpids == [3, 3, 3]
    assert people.into == {2: 3, 1: 3}
    assert people.of(3) == ["customer", "email 1", "email 2", "phone"]


NAMES = [f"{kind} {number}" for kind in _TYPES for number in range(4)]
_STRENGTH = {name: place for place, name in enumerate(NAMES)}

batches = st.tuples(
    st.sampled_from([0, 0, 0, 0, 1, 2]),
    st.lists(st.sampled_from(NAMES), unique=True, max_size=4).map(lambda names: sorted(names, key=lambda name: _STRENGTH[name])),
    st.lists(st.sampled_from(NAMES), max_size=2).map(lambda claims: claims if len(claims) == 2 else []),
    st.lists(st.sampled_from(NAMES), max_size=2).map(lambda losses: losses if len(losses) == 2 else []),
)
TYPES = [int(type_) for type_ in _TYPES.values()]
rules = st.builds(
    lambda most, replacing, moving, merging: Rules((), most, replacing & most.keys(), moving, merging),
    st.dictionaries(st.sampled_from(TYPES), st.integers(1, 2)),
    st.frozensets(st.sampled_from(TYPES)),
    st.frozensets(st.sampled_from(TYPES), max_size=2),
    st.sampled_from([True, True, False]),
)


@settings(max_examples=600, deadline=None)
@given(rules, st.lists(st.lists(batches, max_size=5), max_size=8))
def test_rounds_give_what_batches_give_one_by_one_in_a_plain_world(
    rules: Rules, rounds: Sequence[Sequence[tuple[int, list[str], list[str], list[str]]]]
) -> None:
    world = World(dict(rules.most), set(rules.moving), set(rules.replacing), rules.merging)
    people = People(rules)
    for round_ in rounds:
        batches = [person(*names, mpid=mpid, claims=claims, losses=losses) for mpid, names, claims, losses in round_ if mpid or names]
        told = people.decide(*batches)
        world.round = people.round
        numbers = {one.fresh: one.fresh for one in batches}
        for one in batches:
            # A new person has the number that was drawn for the batch.
            world.take(
                one.mpid,
                [(type_of(key.decode()), key.decode()) for key in one.keys],
                one.fresh or -1,
                [(type_, key.decode()) for type_, key in one.claims],
                [(type_of(key.decode()), key.decode()) for key in one.losses],
            )
        assert len(numbers) <= len(batches) + 1
        held = {mpid: sorted(name for _, name in names) for mpid, names in world.people.items() if names}
        assert held == {mpid: people.of(mpid) for mpid in set(people.owners.values())}
        for one, mpid in zip(batches, told.mpids, strict=True):
            assert mpid == _final(world, one, mpid)


def _final(world: World, one: Person, told: int) -> int:
    """Who a batch is about once its round is over, in the plain world."""
    if one.mpid:
        mpid = one.mpid
        while mpid in world.ended:
            mpid = world.ended[mpid]
        return mpid
    return told if told in world.people and told not in world.ended else 0
