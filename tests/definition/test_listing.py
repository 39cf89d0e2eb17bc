"""Lists of audiences: filters, search, order and pages."""

from __future__ import annotations

import base64

import grpc
import pytest
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb

from services.definition.domain.lifecycle import State
from services.definition.domain.listing import (
    ANSWER_MAX_BYTES,
    InvalidPageToken,
    Page,
    Position,
    SortKey,
    UnknownOrder,
    position_of,
    query_of,
    token_of,
)
from tests.definition.conftest import Home, Service, refused


async def names(home: Home, page_size: int = 0, **filters: object) -> list[str]:
    """The names on all pages."""
    found, token = list[str](), ""
    while True:
        request = pb.ListAudiencesRequest(page_size=page_size, page_token=token, **filters)  # type: ignore[arg-type]
        page = await home.audiences.ListAudiences(request)
        found += [audience.name for audience in page.audiences]
        token = page.next_page_token
        if not token:
            assert page.total_size == len(found)
            return found


async def test_lists_are_filtered_searched_sorted_and_paged(service: Service, home: Home) -> None:
    # Two at a time are made at one instant, so that the order within it is by id.
    made = {}
    for number, (name, tags) in enumerate(
        [("beta", ["x"]), ("Alpha", ["x", "y"]), ("50%_off", []), ("ÉCLAIR", ["y"]), ("alpine", []), ("Straße", ["x", "y", "z"])]
    ):
        if number % 2 == 0:
            await service.clock.advance(10)
        made[name] = await home.audience(name, tags=tags)
    await service.clock.advance(10)
    await home.activate(made["beta"])
    await home.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=made["alpine"].audience_id))

    newest_first = ["Straße", "ÉCLAIR", "50%_off", "Alpha", "beta"]
    by_name = ["50%_off", "Alpha", "beta", "Straße", "ÉCLAIR"]
    for page_size in (1, 2, 3, 1000):
        assert await names(home, page_size) == newest_first
        assert await names(home, page_size, order_by="create_time") == newest_first[::-1]
        assert await names(home, page_size, order_by="name asc") == by_name
        assert await names(home, page_size, order_by="name desc") == by_name[::-1]
    assert (await names(home, order_by="update_time desc"))[0] == "beta"

    assert await names(home, tags=["x"], order_by="name") == ["Alpha", "beta", "Straße"]
    assert await names(home, tags=["y", "x"], order_by="name") == ["Alpha", "Straße"]
    assert await names(home, tags=["X"]) == []
    assert await names(home, states=[audience_pb2.AUDIENCE_STATE_ACTIVE]) == ["beta"]
    assert await names(home, states=[audience_pb2.AUDIENCE_STATE_DELETED, audience_pb2.AUDIENCE_STATE_ACTIVE]) == ["alpine", "beta"]
    assert await names(home, search="LPH") == ["Alpha"]
    assert await names(home, search="éclair") == ["ÉCLAIR"]
    assert await names(home, search="STRASSE") == ["Straße"]
    assert await names(home, search="0%_o") == ["50%_off"]
    assert await names(home, search="%") == ["50%_off"]
    assert await names(home, search="eta", tags=["x"], states=[audience_pb2.AUDIENCE_STATE_DRAFT]) == []

    first = await home.audiences.ListAudiences(pb.ListAudiencesRequest(page_size=1))
    for request, field in (
        (pb.ListAudiencesRequest(page_token=first.next_page_token, search="a"), "page_token"),
        (pb.ListAudiencesRequest(page_token="nonsense"), "page_token"),
        (pb.ListAudiencesRequest(order_by="size desc"), "order_by"),
        (pb.ListAudiencesRequest(search="a\0"), "search"),
        (pb.ListAudiencesRequest(tags=["\0"]), "tags"),
        (pb.ListAudiencesRequest(states=[99]), "states"),  # type: ignore[list-item]
        (pb.ListAudiencesRequest(page_size=1001), "page_size"),
    ):
        failure = await refused(home.audiences.ListAudiences(request))
        assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
        assert failure.violations[0].field == field


def test_an_order_is_a_field_and_a_direction() -> None:
    def order(text: str) -> tuple[SortKey, bool]:
        query = query_of(states=[], tags=[], search="", order_by=text)
        return query.sort, query.descending

    assert order("") == (SortKey.CREATE_TIME, True)
    assert order("name") == (SortKey.NAME, False)
    assert order(" update_time   desc ") == (SortKey.UPDATE_TIME, True)
    for wrong in ("name down", "name asc desc", "name,id", "NAME"):
        with pytest.raises(UnknownOrder):
            order(wrong)


def test_without_states_all_but_the_deleted_are_meant() -> None:
    query = query_of(states=[], tags=[], search="", order_by="")
    assert query.states == {State.DRAFT, State.ACTIVE, State.INACTIVE}


def test_a_page_holds_no_more_than_an_answer_can() -> None:
    page = Page.of(["a", "b", "c", "d"], 3)
    assert page == Page(["a", "b", "c"], True)
    assert Page(["a", "b"], False).fitting([1, 1]) == Page(["a", "b"], False)
    half = ANSWER_MAX_BYTES // 2
    assert Page(["a", "b", "c"], False).fitting([half, half, 1]) == Page(["a", "b"], True)
    assert Page(["a", "b"], False).fitting([ANSWER_MAX_BYTES + 1, 1]) == Page(["a"], True)


def test_a_token_leads_back_to_its_position_and_no_other_list_takes_it() -> None:
    for position in (Position("straße\U0001f642", 7), Position(5, -(2**63) + 1)):
        key_type = type(position.key)
        assert position_of(token_of(position, "list"), "list", key_type=key_type) == position
        with pytest.raises(InvalidPageToken):
            position_of(token_of(position, "list"), "other", key_type=key_type)
    assert position_of("", "list") is None


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '["list", 1]', '["list", "a", 1]', '["list", 1, 9223372036854775808]', '["list", true, 1]', "[" * 99_999, "\xff"],
)
def test_a_forged_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidPageToken):
        position_of(base64.urlsafe_b64encode(text.encode("latin-1")).decode() or "=", "list")
