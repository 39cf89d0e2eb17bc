"""The rule of forwarding, with literals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.forwarder.domain.identities import Presented, pack, unpack
from services.forwarder.domain.reconcile import Action, Change, Difference, Waiting, difference

EMAIL = Presented(8, "raw", "a@example.com")
DEVICE = Presented(40, "raw", "AAAA")

identities = st.lists(
    st.builds(Presented, st.sampled_from([2, 8, 40]), st.sampled_from(["raw", "sha256"]), st.text(max_size=4)), unique=True, max_size=3
)


def one(*wanted: Presented, member: bool = True, told: tuple[Presented, ...] | None = None, live: bool = True) -> Difference:
    waiting = Waiting(1, mark=5, since_ms=9, member=member, told=None if told is None else pack(told))
    return difference([waiting], {1: wanted} if wanted else {}, audience_live=live)


def test_a_member_whom_the_partner_does_not_have_is_added_with_all_identities() -> None:
    assert one(DEVICE, EMAIL).changes == [Change(1, Action.ADD, (EMAIL, DEVICE), mark=5, since_ms=9)]


def test_somebody_who_is_no_member_any_more_is_deleted_by_what_the_partner_was_told() -> None:
    # Not by the identities of now: those the partner may not know.
    assert one(DEVICE, member=False, told=(EMAIL,)).changes == [Change(1, Action.DELETE, (EMAIL,), mark=5, since_ms=9)]


def test_a_member_with_other_identities_than_were_told_is_updated() -> None:
    assert one(EMAIL, DEVICE, told=(EMAIL,)).changes == [Change(1, Action.UPDATE, (EMAIL, DEVICE), mark=5, since_ms=9)]


def test_a_member_who_lost_every_accepted_identity_is_deleted() -> None:
    assert one(told=(EMAIL,)).changes == [Change(1, Action.DELETE, (EMAIL,), mark=5, since_ms=9)]


def test_everybody_is_deleted_from_an_audience_that_is_not_active() -> None:
    assert one(EMAIL, told=(EMAIL,), live=False).changes == [Change(1, Action.DELETE, (EMAIL,), mark=5, since_ms=9)]


@pytest.mark.parametrize(
    "found",
    [
        one(EMAIL, DEVICE, told=(DEVICE, EMAIL)),
        one(EMAIL, EMAIL, told=(EMAIL,)),
        one(member=False),
        one(EMAIL, member=False),
        one(),
        one(EMAIL, live=False),
    ],
    ids=["the order is another", "one comes twice", "never told", "never told, has identities", "no identity", "not active"],
)
def test_nothing_is_sent_where_the_partner_has_what_it_should_have(found: Difference) -> None:
    assert found.changes == []
    assert [person.mpid for person in found.settled] == [1]


@given(
    member=st.booleans(),
    live=st.booleans(),
    wanted=identities,
    told=st.none() | identities.filter(bool),
)
def test_what_was_told_and_the_difference_make_what_is_wanted(
    member: bool, live: bool, wanted: list[Presented], told: list[Presented] | None
) -> None:
    found = one(*wanted, member=member, live=live, told=None if told is None else tuple(told))
    at_partner = None if told is None else set(told)
    for change in found.changes:
        match change.action:
            case Action.ADD:
                assert at_partner is None
                at_partner = set(change.identities)
            case Action.UPDATE:
                assert at_partner is not None
                assert at_partner != set(change.identities)
                at_partner = set(change.identities)
            case Action.DELETE:
                assert at_partner == set(change.identities)
                at_partner = None
    assert at_partner == (set(wanted) if member and live and wanted else None)
    assert len(found.changes) + len(found.settled) == 1


@given(identities)
def test_packed_identities_come_back_as_a_set(some: list[Presented]) -> None:
    assert set(unpack(pack(some))) == set(some)
    assert pack(some) == pack(reversed(some))
