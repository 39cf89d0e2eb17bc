"""A/B tests: what may be made, what is told of it, and what becomes of it (semantics: A/B tests)."""

from __future__ import annotations

import grpc
from hypothesis import given
from hypothesis import strategies as st
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb

from services.chassis.variations import CONTROL_NAME
from services.definition.domain.ab_tests import AbTest, Variation, judge_test
from tests.definition.conftest import Facts, Home, Service, refused

GetAbTest, DeleteAbTest = pb.GetAbTestRequest, pb.DeleteAbTestRequest


def asked(audience_id: int, *variations: tuple[str, int], name: str = "Offers") -> pb.CreateAbTestRequest:
    told = [audience_pb2.Variation(name=one, percentage=percentage) for one, percentage in variations]
    return pb.CreateAbTestRequest(ab_test=audience_pb2.AbTest(audience_id=audience_id, name=name, variations=told))


async def made(home: Home, audience_id: int, *variations: tuple[str, int]) -> audience_pb2.AbTest:
    test: audience_pb2.AbTest = await home.client.ab_tests.CreateAbTest(asked(audience_id, *variations or (("Blue", 20), ("Red", 30))))
    return test


def of(*variations: Variation, name: str = "Offers") -> AbTest:
    return AbTest(account_id=1, audience_id=1, name=name, variations=variations, create_time_ms=0, created_by="ann")


async def test_a_test_is_kept_shown_and_told(service: Service, home: Home, facts: Facts) -> None:
    audience = await home.audience()
    test = await made(home, audience.audience_id)
    assert [(one.variation_id, one.name, one.percentage) for one in test.variations] == [(1, "Blue", 20), (2, "Red", 30)]
    assert (test.name, test.audience_id, test.created_by) == ("Offers", audience.audience_id, "ann")
    assert test.create_time_ms == service.clock.now_ms()
    assert await home.client.ab_tests.GetAbTest(GetAbTest(audience_id=audience.audience_id)) == test
    marked = await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=audience.audience_id))
    assert marked.ab_test_id == test.ab_test_id
    assert marked.revision == audience.revision, "a test is no new meaning"
    account = home.account.account_id
    assert (await facts.newest(f"muster.definitions.{account}.abtest.{test.ab_test_id}", 1)).ab_test == test
    assert (await facts.newest(f"muster.definitions.{account}.audience.{audience.audience_id}", 2)).audience.ab_test_id == test.ab_test_id


async def test_a_deleted_test_is_gone_for_the_audience_and_another_can_be_made(home: Home, facts: Facts) -> None:
    audience = await home.audience()
    test = await made(home, audience.audience_id)
    failure = await refused(made(home, audience.audience_id))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AB_TEST_EXISTS")
    failure = await refused(home.client.ab_tests.DeleteAbTest(DeleteAbTest(ab_test_id=test.ab_test_id, etag="v9")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    gone = await home.client.ab_tests.DeleteAbTest(DeleteAbTest(ab_test_id=test.ab_test_id, etag=test.etag))
    assert gone.delete_time_ms > 0
    assert not gone.variations
    assert await home.client.ab_tests.DeleteAbTest(DeleteAbTest(ab_test_id=test.ab_test_id)) == gone, "repeated, it changes nothing"
    failure = await refused(home.client.ab_tests.GetAbTest(GetAbTest(audience_id=audience.audience_id)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "AB_TEST_NOT_FOUND")
    fact = await facts.newest(f"muster.definitions.{home.account.account_id}.abtest.{test.ab_test_id}", 2)
    assert fact.ab_test == gone
    other = await made(home, audience.audience_id)
    assert other.ab_test_id != test.ab_test_id


async def test_editing_the_audience_leaves_the_test_and_a_clone_has_none(home: Home) -> None:
    audience = await home.audience()
    test = await made(home, audience.audience_id)
    marked = await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=audience.audience_id))
    edited = await home.update(marked, name="Other")
    assert edited.ab_test_id == test.ab_test_id
    clone = await home.audiences.CloneAudience(pb.CloneAudienceRequest(audience_id=audience.audience_id))
    assert clone.ab_test_id == 0


async def test_every_fault_of_a_test_is_told_with_its_place(home: Home) -> None:
    audience = await home.audience()
    wrong = asked(audience.audience_id, ("", 50), ("Blue", 0), ("BLUE", 40), ("control", 60), name="")
    failure = await refused(home.client.ab_tests.CreateAbTest(wrong))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_AB_TEST")
    assert [(violation.field, violation.reason) for violation in failure.violations] == [
        ("name", "NAME_EMPTY"),
        ("variations[0].name", "NAME_EMPTY"),
        ("variations[1].percentage", "OUT_OF_RANGE"),
        ("variations[2].name", "DUPLICATE_NAME"),
        ("variations[3].name", "DUPLICATE_NAME"),
        ("variations", "OVER_100_PERCENT"),
    ]
    assert "150%" in failure.violations[-1].description
    failure = await refused(home.client.ab_tests.CreateAbTest(asked(audience.audience_id, *((f"v{n}", 1) for n in range(6)))))
    assert [violation.reason for violation in failure.violations] == ["TOO_MANY"]
    failure = await refused(home.client.ab_tests.CreateAbTest(asked(audience.audience_id)))
    assert [violation.reason for violation in failure.violations] == ["MISSING"]
    assert not (await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=audience.audience_id))).ab_test_id


async def test_a_repeated_create_answers_with_the_test_that_was_made(home: Home) -> None:
    audience = await home.audience()
    request = asked(audience.audience_id, ("Blue", 100))
    request.idempotency_key = "once"
    first = await home.client.ab_tests.CreateAbTest(request)
    assert await home.client.ab_tests.CreateAbTest(request) == first


async def test_another_account_s_tests_do_not_exist(service: Service, home: Home) -> None:
    audience = await home.audience()
    test = await made(home, audience.audience_id)
    stranger = (await service.home()).client
    for call, reason in (
        (stranger.ab_tests.CreateAbTest(asked(audience.audience_id, ("Blue", 1))), "AUDIENCE_NOT_FOUND"),
        (stranger.ab_tests.GetAbTest(GetAbTest(audience_id=audience.audience_id)), "AUDIENCE_NOT_FOUND"),
        (stranger.ab_tests.DeleteAbTest(DeleteAbTest(ab_test_id=test.ab_test_id)), "AB_TEST_NOT_FOUND"),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, reason)


async def test_a_deleted_audience_gets_no_test(home: Home) -> None:
    audience = await home.audience()
    await home.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=audience.audience_id))
    failure = await refused(made(home, audience.audience_id))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AUDIENCE_DELETED")


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", "A", CONTROL_NAME, ""]), st.integers(-1, 101)), max_size=7))
def test_a_test_is_right_just_when_semantics_says_so(told: list[tuple[str, int]]) -> None:
    right = (
        1 <= len(told) <= 5
        and all(name and name != CONTROL_NAME and 1 <= percentage <= 100 for name, percentage in told)
        and len({name.lower() for name, _ in told}) == len(told)
        and sum(percentage for _, percentage in told) <= 100
    )
    assert (not judge_test(of(*(Variation(*one) for one in told)))) == right
