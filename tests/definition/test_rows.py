"""The table of audiences: figures and outputs beside what they are, filters, orders and pages."""

from __future__ import annotations

import asyncio
import time

import grpc
from hypothesis import given
from hypothesis import strategies as st
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.forwarder.v1 import connection_pb2

from services.chassis.bus import Bus
from services.chassis.client import Tokens
from services.definition.domain.listing import Figures, Position, SortKey, query_of, ranked
from services.definition.figures import FiguresOf
from tests.conftest import TOKEN_SECRET
from tests.definition.conftest import Home, Service, refused
from tests.definition.others import split, tell
from tests.fakes.waiting import eventually

YES, NO = pb.ListAudienceRowsRequest.FILTER_YES, pb.ListAudienceRowsRequest.FILTER_NO


async def rows(home: Home, page_size: int = 0, **asked: object) -> list[pb.AudienceRow]:
    """Those on all pages."""
    found, token = list[pb.AudienceRow](), ""
    while True:
        request = pb.ListAudienceRowsRequest(page_size=page_size, page_token=token, **asked)  # type: ignore[arg-type]
        page = await home.audiences.ListAudienceRows(request)
        found += page.rows
        token = page.next_page_token
        if not token:
            assert page.total_size == len(found)
            return found


async def names(home: Home, page_size: int = 0, **asked: object) -> list[str]:
    return [row.name for row in await rows(home, page_size, **asked)]


async def test_a_row_has_all_that_the_table_shows(service: Service, home: Home, bus: Bus) -> None:
    audience = await home.activate(await home.audience("New", tags=["a", "b"], external_name="Out"))
    number = audience.audience_id
    test = await split(home, number)
    await tell(bus, home, number, connection_id=700 + number, state=connection_pb2.CONNECTION_STATE_FAULTED, fault="429")
    service.evaluator.figures[number] = (200, 30, 20)

    async def connected() -> bool:
        return bool((await rows(home))[0].connections)

    await eventually(connected)
    (row,) = await rows(home)
    assert (row.audience_id, row.name, row.external_name, list(row.tags)) == (number, "New", "Out", ["a", "b"])
    assert (row.state, row.revision, row.created_by, row.updated_by) == (audience_pb2.AUDIENCE_STATE_ACTIVE, 1, "ann", "ann")
    assert row.ab_test_id == test.ab_test_id
    assert (row.figures.size, row.figures.adds, row.figures.drops, row.figures.volatility) == (200, 30, 20, 0.25)
    assert [(one.configuration_name, one.fault) for one in row.connections] == [("Hook", "429")]
    found = await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=number))
    assert row.etag == found.etag


async def test_the_table_is_sorted_by_figures_and_paged(service: Service, home: Home) -> None:
    made = {name: (await home.audience(name)).audience_id for name in ("a", "b", "c", "d", "e")}
    told = {"a": (5, 1, 0), "b": (50, 0, 3), "c": (0, 9, 9), "d": (5, 5, 5)}
    service.evaluator.figures |= {made[name]: figures for name, figures in told.items()}
    for page_size in (1, 2, 1000):
        assert await names(home, page_size, order_by="size desc") == ["b", "d", "a", "c", "e"]
        assert await names(home, page_size, order_by="size") == ["e", "c", "a", "d", "b"]
        assert await names(home, page_size, order_by="adds desc") == ["c", "d", "a", "b", "e"]
        assert await names(home, page_size, order_by="drops desc") == ["c", "d", "b", "a", "e"]
        assert await names(home, page_size, order_by="volatility desc") == ["d", "a", "b", "e", "c"]
        assert await names(home, page_size, order_by="name desc") == ["e", "d", "c", "b", "a"]
    assert not (await rows(home, order_by="name"))[4].HasField("figures"), "not evaluated"
    assert not (await rows(home, order_by="name"))[2].figures.HasField("volatility"), "of nobody"
    assert service.evaluator.asked < 40, "one order is asked for once"


async def test_filters_of_the_table(service: Service, home: Home, bus: Bus) -> None:
    plain, sent, broken, tested = [(await home.audience(name)).audience_id for name in ("plain", "sent", "broken", "tested")]
    await split(home, tested)
    await tell(bus, home, sent, connection_id=600 + sent)
    await tell(bus, home, broken, connection_id=600 + broken, state=connection_pb2.CONNECTION_STATE_FAULTED)
    await tell(bus, home, plain, connection_id=600 + plain, state=connection_pb2.CONNECTION_STATE_DELETED)

    async def known() -> bool:
        # A fact may come between the page and its count.
        return len((await home.audiences.ListAudienceRows(pb.ListAudienceRowsRequest(connected=YES))).rows) == 2

    await eventually(known)
    assert await names(home, connected=YES, order_by="name") == ["broken", "sent"]
    assert await names(home, connected=NO, order_by="name") == ["plain", "tested"]
    assert await names(home, faulted=YES) == ["broken"]
    assert await names(home, faulted=NO, connected=YES) == ["sent"]
    assert await names(home, tested=YES) == ["tested"]
    assert await names(home, tested=NO, order_by="name") == ["broken", "plain", "sent"]
    assert await names(home, integration_keys=["webhook", "braze"], order_by="size desc") == ["broken", "sent"]
    assert await names(home, integration_keys=["braze"]) == []
    assert await names(home, created_by="ann", search="PLA") == ["plain"]
    assert await names(home, created_by="bob") == []


async def test_without_the_evaluator_the_table_has_no_figures_and_is_not_sorted_by_them(service: Service, home: Home) -> None:
    audience = await home.audience("a")
    service.evaluator.figures[audience.audience_id] = (1, 1, 1)
    service.evaluator.down = True
    said = await home.audiences.ListAudienceRows(pb.ListAudienceRowsRequest())
    assert not said.figures_known
    assert not said.rows[0].HasField("figures")
    failure = await refused(home.audiences.ListAudienceRows(pb.ListAudienceRowsRequest(order_by="size desc")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "FIGURES_AWAY")
    service.evaluator.down = False
    assert (await rows(home, order_by="size desc"))[0].figures.size == 1
    failure = await refused(home.audiences.ListAudienceRows(pb.ListAudienceRowsRequest(order_by="tags")))
    assert "volatility" in failure.violations[0].description


async def test_another_account_s_audiences_are_in_no_table(service: Service, home: Home) -> None:
    audience = await home.audience("a")
    service.evaluator.figures[audience.audience_id] = (1, 1, 1)
    stranger = await service.home()
    assert await rows(stranger) == []
    assert await rows(stranger, order_by="size desc") == []


figures = st.builds(Figures, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
orders = st.sampled_from(
    [f"{key.value} {way}" for key in (SortKey.SIZE, SortKey.ADDS, SortKey.DROPS, SortKey.VOLATILITY) for way in ("asc", "desc")]
)


@given(st.frozensets(st.integers(1, 12)), st.dictionaries(st.integers(1, 12), figures), orders, st.integers(1, 4))
def test_pages_by_figures_are_the_whole_order_in_pieces(ids: frozenset[int], told: dict[int, Figures], order: str, limit: int) -> None:
    query = query_of(states=[], tags=[], search="", order_by=order, keys=frozenset(SortKey))
    found, after = list[Position](), None
    while True:
        places = ranked(ids, told, query, after, limit)
        found += places[:limit]
        if len(places) <= limit:
            break
        after = places[limit - 1]

    def key(one: int) -> tuple[int, int]:
        return (told[one].rank(query.sort) if one in told else -1, one)

    assert [place.id for place in found] == sorted(ids, key=key, reverse=query.descending)


async def test_all_who_wait_for_an_evaluator_that_is_away_wait_once() -> None:
    figures = FiguresOf("127.0.0.1:1", Tokens(TOKEN_SECRET, "service:definition"))
    begin = time.monotonic()
    assert await asyncio.gather(*(figures.all(1) for _ in range(5))) == [None] * 5
    assert time.monotonic() - begin < 5
    await figures.stop()
