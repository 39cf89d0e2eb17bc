"""Names that have never arrived or are deprecated are warned of, with the nearest that has; and nothing is said where not all is known."""

from __future__ import annotations

from typing import Any

import pytest
from muster.definition.v1 import definition_pb2
from muster.definition.v1 import definition_service_pb2 as definition_service

from services.chassis.bus import Bus
from services.definition import catalogue_intake, catalogue_reader
from services.definition.domain.warnings import names
from tests.definition import arriving
from tests.definition.builders import all_of, attribute, criterion, definition, equals, event
from tests.definition.conftest import Home, Service
from tests.definition.test_catalogue import EVENT, NAME, USER, Data
from tests.fakes.waiting import eventually


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_reader, "FLUSH_SECONDS", 0.05)


@pytest.fixture
async def data(home: Home, bus: Bus) -> Data:
    data = Data(home, bus)
    await data.send(
        *[arriving.event("Add to Cart", colour="red", products=[{"attributes": {"size": "L"}}]) for _ in range(2)],
        arriving.event("add_to_list"),
        arriving.event("", type=arriving.SESSION_START, plan="gold"),
    )
    await data.tell({"city": "Bonn"})
    return data


async def warned(data: Data, *nodes: definition_pb2.Node, **asked: Any) -> list[tuple[str, str, str]]:
    request = definition_service.ValidateDefinitionRequest(
        definition=definition(all_of(*nodes)), workspace_ids=[data.workspace_id], **asked
    )
    verdict = await data.home.audiences.ValidateDefinition(request)
    assert not verdict.faults
    prefix = "definition.root.all."
    return [(one.field.removeprefix(prefix), one.reason, one.description) for one in verdict.warnings]


def custom(name: str, *attributes: str, **match: Any) -> definition_pb2.Node:
    where = [definition_pb2.Filter(attribute=one, test=equals("red")) for one in attributes]
    return event("CUSTOM", name=name, where=where, **match)


async def test_an_unknown_name_is_told_with_the_nearest_known_one(data: Data) -> None:
    found = await warned(
        data,
        custom("Add to Cart", "colour"),
        custom("add to cart"),
        custom("Add to Carts", "whatever"),
        custom("xyz"),
        custom("Add to Cart", "color"),
        attribute("citi", equals("Bonn")),
        event("CUSTOM", name="Add to Cart", where=[definition_pb2.Filter(product_attribute="Size", test=equals("L"))]),
        event("SESSION_START", where=[definition_pb2.Filter(attribute="colour", test=equals("x"))]),
        event("CUSTOM", where=[definition_pb2.Filter(attribute="colour", test=equals("x"))]),
    )
    assert [(field, reason) for field, reason, _ in found] == [
        ("nodes[1].criterion.event.match.name", "UNKNOWN_NAME"),
        ("nodes[2].criterion.event.match.name", "UNKNOWN_NAME"),
        ("nodes[3].criterion.event.match.name", "UNKNOWN_NAME"),
        ("nodes[4].criterion.event.match.where[0].attribute", "UNKNOWN_NAME"),
        ("nodes[5].criterion.user_attribute.attribute", "UNKNOWN_NAME"),
        ("nodes[6].criterion.event.match.where[0].product_attribute", "UNKNOWN_NAME"),
        ("nodes[7].criterion.event.match.where[0].attribute", "UNKNOWN_NAME"),
    ]
    hints = [description.partition("the nearest that has is ")[2].rstrip(".") for _, _, description in found]
    assert hints == ["'Add to Cart'", "'Add to Cart'", "", "'colour'", "'city'", "'size'", ""]


async def test_names_are_looked_for_in_the_inputs_that_are_read(data: Data) -> None:
    ios, feed = data.home.ios.input.input_id, data.home.feed.input.input_id
    assert await warned(data, custom("Add to Cart"), input_ids=[ios]) == []
    assert [reason for _, reason, _ in await warned(data, custom("Add to Cart"), input_ids=[feed])] == ["UNKNOWN_NAME"]
    assert [reason for _, reason, _ in await warned(data, custom("Add to Cart", input_ids=[feed]))] == ["UNKNOWN_NAME"]


async def test_names_in_aggregates_and_sequences_are_looked_at_too(data: Data) -> None:
    match = definition_pb2.EventMatch(type=arriving.CUSTOM, name="Add to Cart")
    test = definition_pb2.ValueTest(number=definition_pb2.NumberTest(comparison=definition_pb2.COMPARISON_GREATER, value="5"))
    aggregate = definition_pb2.AggregateCriterion(match=match, function=definition_pb2.AGGREGATE_FUNCTION_SUM, attribute="prize", test=test)
    step = definition_pb2.SequenceStep(match=match)
    end = definition_pb2.NotFollowedBy(match=definition_pb2.EventMatch(type=arriving.CUSTOM, name="purchase"))
    sequence = definition_pb2.SequenceCriterion(steps=[step], not_followed_by=end)
    found = await warned(data, criterion(aggregate=aggregate), criterion(sequence=sequence))
    assert [field for field, _, _ in found] == [
        "nodes[0].criterion.aggregate.attribute",
        "nodes[1].criterion.sequence.not_followed_by.match.name",
    ]


async def test_a_deprecated_name_is_told_with_its_note(data: Data) -> None:
    await data.describe("Add to Cart", NAME, deprecated=True, deprecation_note="Use the commerce event.")
    await data.describe("colour", EVENT, deprecated=True)
    await data.describe("city", USER, deprecated=True, deprecation_note="Ask for the place")
    found = await warned(data, custom("Add to Cart", "colour"), attribute("city", equals("Bonn")))
    assert [(reason, description) for _, reason, description in found] == [
        ("DEPRECATED_NAME", "An event named 'Add to Cart' is deprecated: Use the commerce event."),
        ("DEPRECATED_NAME", "The event attribute 'colour' of 'Add to Cart' is deprecated; choose another one."),
        ("DEPRECATED_NAME", "The user attribute 'city' is deprecated: Ask for the place."),
    ]


async def test_nothing_is_unknown_where_nothing_has_arrived_or_not_all_is_listed(
    service: Service, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Data(await service.home(name="Other"), data.bus)
    assert await warned(other, custom("Add to Cart", "colour"), attribute("city", equals("Bonn"))) == []
    monkeypatch.setattr(catalogue_intake, "NAMES_MAX", 0)
    await data.publish(
        arriving.batch(data.home.account.account_id, data.workspace_id, data.home.ios.input.input_id, arriving.event("new")), 0
    )

    async def only_of_the_attribute() -> bool:
        found = await warned(data, custom("xyz"), attribute("xyz", equals("Bonn")))
        return [field for field, _, _ in found] == ["nodes[1].criterion.user_attribute.attribute"]

    await eventually(only_of_the_attribute)


def test_what_differs_in_case_alone_is_the_nearest() -> None:
    assert names._nearest("BUY NOW", ["buy new", "Buy Now", "buy now"]) == "Buy Now"
    assert names._nearest("buy", ["sell", "return"]) is None
