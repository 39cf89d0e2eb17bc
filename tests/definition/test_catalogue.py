"""The catalogue by gRPC: what has arrived, the best first, and what people say of it."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from muster.definition.v1 import account_pb2, definition_service_pb2
from muster.definition.v1 import catalogue_service_pb2 as pb
from muster.operations.v1 import audit_service_pb2

from services.chassis.bus import Bus
from services.definition import catalogue_reader
from tests.definition.arriving import ARRIVED_MS, CUSTOM, SESSION_START, batch, event, profiles, publish
from tests.definition.conftest import Home, Service, refused
from tests.fakes.waiting import eventually

SEVERAL = 20
"""So many people that they fall into three of the 32 groups, whoever they are."""
NAME, USER, EVENT, PRODUCT = (
    pb.CATALOGUE_KIND_EVENT_NAME,
    pb.CATALOGUE_KIND_USER_ATTRIBUTE,
    pb.CATALOGUE_KIND_EVENT_ATTRIBUTE,
    pb.CATALOGUE_KIND_PRODUCT_ATTRIBUTE,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_reader, "FLUSH_SECONDS", 0.05)


class Data:
    """Sends events of a home, and waits until they are in the catalogue."""

    def __init__(self, home: Home, bus: Bus) -> None:
        self.home, self.bus = home, bus
        self.workspace_id = home.workspace.workspace_id
        self._sent = 0

    async def send(self, *events: Any, feed: bool = False, arrived_ms: int = ARRIVED_MS) -> None:
        source = self.home.feed if feed else self.home.ios
        await self.publish(
            batch(self.home.account.account_id, self.workspace_id, source.input.input_id, *events, arrived_ms=arrived_ms), len(events)
        )

    async def tell(self, *people: dict[str, str]) -> None:
        told = profiles(self.home.account.account_id, self.workspace_id, self.home.ios.input.input_id, *people)
        await self.publish(told, 0)
        await self.send(event("marker"))

    async def publish(self, fact: Any, events: int) -> None:
        self._sent += events
        await publish(self.bus, fact)

        async def there() -> bool:
            return sum(one.sightings.count for one in await self.names()) == self._sent

        await eventually(there)

    async def names(self, **asked: Any) -> list[pb.EventName]:
        request = pb.ListEventNamesRequest(workspace_id=self.workspace_id, **asked)
        return list((await self.home.catalogue.ListEventNames(request)).event_names)

    async def attributes(self, **asked: Any) -> list[pb.CatalogueAttribute]:
        request = pb.ListEventAttributesRequest(workspace_id=self.workspace_id, **asked)
        return list((await self.home.catalogue.ListEventAttributes(request)).attributes)

    async def user_attributes(self, **asked: Any) -> list[pb.CatalogueAttribute]:
        request = pb.ListUserAttributesRequest(workspace_id=self.workspace_id, **asked)
        return list((await self.home.catalogue.ListUserAttributes(request)).attributes)

    async def values(self, attribute: str, kind: pb.CatalogueKind.ValueType = EVENT, **asked: Any) -> pb.ListAttributeValuesResponse:
        request = pb.ListAttributeValuesRequest(workspace_id=self.workspace_id, attribute=attribute, kind=kind, **asked)
        answer: pb.ListAttributeValuesResponse = await self.home.catalogue.ListAttributeValues(request)
        return answer

    async def describe(self, name: str, kind: pb.CatalogueKind.ValueType, **said: Any) -> pb.CatalogueEntry:
        of: dict[str, Any] = {"workspace_id": self.workspace_id, "kind": kind, "name": name, "event_type": CUSTOM if kind == NAME else 0}
        entry = await self.home.catalogue.GetCatalogueEntry(pb.GetCatalogueEntryRequest(**of))
        wanted = pb.CatalogueEntry(**{**of, "etag": entry.etag, **said})
        answer: pb.CatalogueEntry = await self.home.catalogue.UpdateCatalogueEntry(pb.UpdateCatalogueEntryRequest(entry=wanted))
        return answer


@pytest.fixture
def data(home: Home, bus: Bus) -> Data:
    return Data(home, bus)


async def test_names_are_listed_by_frequency_with_when_they_arrived(data: Data) -> None:
    await data.send(event("buy"), event("look"), event("look"), event("", type=SESSION_START))
    await data.send(event("buy"), event("buy"), feed=True, arrived_ms=ARRIVED_MS + 5)
    found = await data.names()
    assert [(one.event_type, one.name, one.sightings.count) for one in found] == [
        (CUSTOM, "buy", 3),
        (CUSTOM, "look", 2),
        (SESSION_START, "", 1),
    ]
    assert (found[0].sightings.first_time_ms, found[0].sightings.last_time_ms) == (ARRIVED_MS, ARRIVED_MS + 5)
    assert [one.name for one in await data.names(input_id=data.home.feed.input.input_id)] == ["buy"]
    assert [one.name for one in await data.names(event_type=SESSION_START)] == [""]


async def test_what_begins_with_it_comes_before_what_holds_it(data: Data) -> None:
    await data.send(
        *[event("Add to Cart")] * 3, *[event("cart viewed")] * 2, event("Cartoon"), event("100%"), event("1000"), event("Straße")
    )
    assert [one.name for one in await data.names(search="CART")] == ["cart viewed", "Cartoon", "Add to Cart"]
    assert [one.name for one in await data.names(search="100%")] == ["100%"]
    assert [one.name for one in await data.names(search="STRASSE")] == ["Straße"]
    assert [one.name for one in await data.names(search="nothing")] == []


async def test_names_come_page_by_page(data: Data) -> None:
    await data.send(*[event(f"e{number}") for number in range(5) for _ in range(5 - number)])
    found, token = list[str](), ""
    while True:
        request = pb.ListEventNamesRequest(workspace_id=data.workspace_id, search="e", page_size=2, page_token=token)
        page = await data.home.catalogue.ListEventNames(request)
        found += [one.name for one in page.event_names]
        token = page.next_page_token
        if not token:
            break
        request = pb.ListEventNamesRequest(workspace_id=data.workspace_id, search="x", page_token=token)
        assert (await refused(data.home.catalogue.ListEventNames(request))).reason == "INVALID_PAGE_TOKEN"
    assert found == ["e0", "e1", "e2", "e3", "e4"]


async def test_attributes_have_their_types_and_their_override(data: Data) -> None:
    await data.send(
        event("buy", price=5, plan="gold", when="2026-01-31"),
        event("buy", price="19.90", plan="lead", tags=["a"]),
        event("buy", price="free"),
        event("look", plan=True, products=[{"attributes": {"size": "L"}}, {"attributes": {"size": "M"}}]),
    )
    override = account_pb2.AttributeOverride(
        kind=account_pb2.ATTRIBUTE_KIND_EVENT, attribute="plan", type=account_pb2.ATTRIBUTE_TYPE_STRING
    )
    await data.home.accounts.SetAttributeOverride(
        definition_service_pb2.SetAttributeOverrideRequest(workspace_id=data.workspace_id, attribute_override=override)
    )
    string, number, boolean, date, list_ = account_pb2.AttributeType.values()[1:]

    def shown(found: list[pb.CatalogueAttribute]) -> list[Any]:
        return sorted((one.kind, one.name, one.override, [(type_.type, type_.count) for type_ in one.types]) for one in found)

    assert shown(await data.attributes()) == [
        (EVENT, "plan", string, [(string, 2), (boolean, 1)]),
        (EVENT, "price", 0, [(number, 2), (string, 1)]),
        (EVENT, "tags", 0, [(list_, 1)]),
        (EVENT, "when", 0, [(date, 1)]),
        (PRODUCT, "size", 0, [(string, 2)]),
    ]
    assert shown(await data.attributes(event_type=CUSTOM, event_name="look")) == [
        (EVENT, "plan", string, [(boolean, 1)]),
        (PRODUCT, "size", 0, [(string, 2)]),
    ]
    assert [one.name for one in await data.attributes(kind=PRODUCT)] == ["size"]
    assert [one.name for one in await data.attributes(search="LA")] == ["plan"]


async def test_values_are_shown_if_several_people_share_them(data: Data) -> None:
    await data.send(
        *[event("buy", plan="Gold") for _ in range(SEVERAL)], event("buy", plan="Gold"), *[event("buy", plan="mine", mpid=7)] * 30
    )
    await data.send(*[event("look", plan="go") for _ in range(SEVERAL)], feed=True)
    found = await data.values("plan")
    assert [(one.value, one.count, one.error) for one in found.values] == [
        ("Gold", SEVERAL + 1, 0),
        ("go", SEVERAL, 0),
    ]
    assert (found.state, found.different_values, found.unshared_values) == (pb.VALUES_STATE_KEPT, 3, 1)
    assert [one.value for one in (await data.values("plan", search="GO", page_size=1)).values] == ["Gold"]
    assert [one.value for one in (await data.values("plan", search="OL")).values] == ["Gold"]
    assert [one.value for one in (await data.values("plan", event_type=CUSTOM, event_name="look")).values] == ["go"]
    assert [one.value for one in (await data.values("plan", input_id=data.home.ios.input.input_id)).values] == ["Gold"]
    assert not (await data.values("unheard of")).values


async def test_values_of_users_are_shown_likewise_and_their_own_are_withheld(data: Data) -> None:
    await data.tell(*({"city": f"City {number % 2}", "email": f"{number}@example.com"} for number in range(300)))
    assert [(one.name, one.sightings.count) for one in await data.user_attributes()] == [("city", 300), ("email", 300)]
    assert [(one.value, one.count) for one in (await data.values("city", USER)).values] == [("City 0", 150), ("City 1", 150)]
    withheld = await data.values("email", USER)
    assert (list(withheld.values), withheld.state, withheld.unshared_values) == ([], pb.VALUES_STATE_WITHHELD, 0)
    assert 250 < withheld.different_values < 350


async def test_people_say_what_a_name_is_for_and_that_it_is_deprecated(data: Data) -> None:
    await data.send(event("buy", plan="gold"))
    said = await data.describe("buy", NAME, description="A purchase.", deprecated=True, deprecation_note="Use `purchase`.")
    assert (said.description, said.deprecated, said.deprecation_note, said.updated_by) == ("A purchase.", True, "Use `purchase`.", "ann")
    assert said.update_time_ms
    [name] = await data.names()
    assert name.entry == said
    attribute = await data.describe("plan", EVENT, description="What they pay for.")
    assert [one.entry for one in await data.attributes()] == [attribute]
    # What its mask names, and nothing else.
    request = pb.UpdateCatalogueEntryRequest(entry=said)
    request.entry.description = "Something else."
    request.entry.deprecated = False
    request.update_mask.paths.append("deprecated")
    again = await data.home.catalogue.UpdateCatalogueEntry(request)
    assert (again.description, again.deprecated, again.etag != said.etag) == ("A purchase.", False, True)


async def test_what_people_say_is_in_the_audit_log(data: Data) -> None:
    await data.send(event("buy"))
    for description in ("First.", "Second.", "Second."):
        await data.describe("buy", NAME, description=description)
    request = audit_service_pb2.ListAuditEntriesRequest(kind="catalogue", thing_id=data.workspace_id)
    found = [json.loads(one.entry) for one in (await data.home.client.audit.ListAuditEntries(request)).entries]
    assert [(one["before"] and one["before"]["description"], one["after"]["description"]) for one in found] == [
        ("First.", "Second."),
        (None, "First."),
    ]


async def test_a_stale_etag_and_a_wrong_text_say_nothing(data: Data) -> None:
    await data.send(event("buy"))
    entry = await data.describe("buy", NAME, description="First.")
    for etag, code, reason in (("v0", grpc.StatusCode.ABORTED, "STALE_ETAG"), ("", grpc.StatusCode.INVALID_ARGUMENT, "MISSING")):
        wanted = pb.CatalogueEntry()
        wanted.CopyFrom(entry)
        wanted.etag, wanted.description = etag, "Second."
        failure = await refused(data.home.catalogue.UpdateCatalogueEntry(pb.UpdateCatalogueEntryRequest(entry=wanted)))
        assert (failure.code, failure.reason) == (code, reason) if etag else failure.code == code
    entry.description, entry.deprecation_note = "x" * 2_001, "\0"
    failure = await refused(data.home.catalogue.UpdateCatalogueEntry(pb.UpdateCatalogueEntryRequest(entry=entry)))
    assert [(one.field, one.reason) for one in failure.violations] == [
        ("entry.description", "TOO_LARGE"),
        ("entry.deprecation_note", "CONTROL_CHARACTER"),
    ]
    assert [one.entry.description for one in await data.names()] == ["First."]


async def test_of_what_has_not_arrived_nothing_can_be_said(data: Data) -> None:
    await data.send(event("buy", plan="gold"))
    for kind, name, type_ in ((NAME, "sell", CUSTOM), (NAME, "buy", SESSION_START), (USER, "plan", 0), (EVENT, "pla", 0), (EVENT, "\0", 0)):
        request = pb.GetCatalogueEntryRequest(workspace_id=data.workspace_id, kind=kind, name=name, event_type=type_)  # type: ignore[arg-type]
        failure = await refused(data.home.catalogue.GetCatalogueEntry(request))
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CATALOGUE_ENTRY_NOT_FOUND")


async def test_a_text_by_which_nothing_is_found_is_refused(data: Data) -> None:
    failure = await refused(data.home.catalogue.ListEventNames(pb.ListEventNamesRequest(workspace_id=data.workspace_id, search="a\0")))
    assert [(one.field, one.reason) for one in failure.violations] == [("search", "CONTROL_CHARACTER")]


async def test_the_data_of_another_account_does_not_exist(service: Service, data: Data) -> None:
    await data.send(event("buy", plan="gold"))
    other = await service.home(name="Stranger")
    stranger, of = other.catalogue, data.workspace_id
    for call in (
        stranger.ListEventNames(pb.ListEventNamesRequest(workspace_id=of)),
        stranger.ListEventAttributes(pb.ListEventAttributesRequest(workspace_id=of)),
        stranger.ListUserAttributes(pb.ListUserAttributesRequest(workspace_id=of)),
        stranger.ListAttributeValues(pb.ListAttributeValuesRequest(workspace_id=of, kind=EVENT, attribute="plan")),
        stranger.GetCatalogueEntry(pb.GetCatalogueEntryRequest(workspace_id=of, kind=NAME, event_type=CUSTOM, name="buy")),
        stranger.UpdateCatalogueEntry(
            pb.UpdateCatalogueEntryRequest(
                entry=pb.CatalogueEntry(workspace_id=of, kind=NAME, event_type=CUSTOM, name="buy", etag="v0", description="Mine.")
            )
        ),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_WORKSPACE")
    own = other.workspace.workspace_id
    failure = await refused(stranger.ListEventNames(pb.ListEventNamesRequest(workspace_id=own, input_id=data.home.ios.input.input_id)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_INPUT")
    assert not (await stranger.ListEventNames(pb.ListEventNamesRequest(workspace_id=own))).event_names
    assert [one.entry.description for one in await data.names()] == [""]


async def test_even_an_event_that_claims_another_account_s_workspace_stays_in_its_own(service: Service, data: Data, bus: Bus) -> None:
    """The account is that of the message; ingest vouches for the pair."""
    await data.send(event("buy"))
    other = await service.home(name="Stranger")
    await publish(bus, batch(other.account.account_id, data.workspace_id, data.home.ios.input.input_id, event("intruder")))
    await data.send(event("buy"))
    assert [one.name for one in await data.names()] == ["buy"]
