"""Events: which ones match, what they add up to, and in which order they came. criteria.md: Events."""

from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from typing import Any

from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2

from tests.model.facts import Event, Value
from tests.model.values import amount, as_number, in_period, is_list, length, passes_of_event, text, text_passes

Field = pb.EventField.ValueType
EVENT_FIELDS = {
    pb.EVENT_FIELD_APPLICATION_VERSION: lambda event: event.context.application_version,
    pb.EVENT_FIELD_APPLICATION_BUILD: lambda event: event.context.application_build,
    pb.EVENT_FIELD_PLATFORM: lambda event: event.context.platform,
    pb.EVENT_FIELD_TOTAL_AMOUNT: lambda event: event.details.get("total_amount"),
    pb.EVENT_FIELD_TRANSACTION_ID: lambda event: event.details.get("transaction_id"),
    pb.EVENT_FIELD_CURRENCY_CODE: lambda event: event.details.get("currency_code"),
    pb.EVENT_FIELD_SESSION_DURATION: lambda event: event.details.get("session_duration_ms"),
}
PRODUCT_FIELDS = {
    pb.EVENT_FIELD_PRODUCT_ID: "id",
    pb.EVENT_FIELD_PRODUCT_NAME: "name",
    pb.EVENT_FIELD_PRODUCT_BRAND: "brand",
    pb.EVENT_FIELD_PRODUCT_CATEGORY: "category",
    pb.EVENT_FIELD_PRODUCT_VARIANT: "variant",
    pb.EVENT_FIELD_PRODUCT_PRICE: "price",
    pb.EVENT_FIELD_PRODUCT_QUANTITY: "quantity",
    pb.EVENT_FIELD_PRODUCT_COUPON_CODE: "coupon_code",
}
Product = Mapping[str, Any]


class History:
    """The events of one person as an audience with these inputs sees them now."""

    def __init__(
        self, events: Sequence[Event], inputs: Collection[int], look_back_ms: int, now: int, types: Mapping[int, Mapping[str, str]]
    ) -> None:
        """`types`: of the attributes of the events of each input."""
        self.events = sorted(events, key=lambda event: (event.time_ms, event.received))
        self.inputs, self.look_back_ms, self.now, self.types = inputs, look_back_ms, now, types

    def count(self, criterion: pb.EventCriterion) -> int:
        return len(self.counted(criterion.match, criterion.when if criterion.HasField("when") else None))

    def counted(self, match: pb.EventMatch, when: pb.Period | None) -> list[Event]:
        """Those that match, in the period and the look-back and not later than now, in the order of their times."""
        return [
            event
            for event in self.events
            if self.now - self.look_back_ms <= event.time_ms <= self.now
            and (when is None or in_period(when, event.time_ms, self.now))
            and self.matches(match, event)
        ]

    def matches(self, match: pb.EventMatch, event: Event) -> bool:
        return (
            event.type == match.type
            and event.input_id in (match.input_ids or self.inputs)
            and name_matches(match, event.name)
            and all(
                passes_of_event(one.test, own_value(one, event), self.now, self.type_of(one, match, event))
                for one in match.where
                if not of_product(one)
            )
            and bool(self.products(match, event))
        )

    def type_of(self, one: pb.Filter, match: pb.EventMatch, event: Event) -> str | None:
        """What the event's attribute is read as; None: as what it was sent as."""
        if one.WhichOneof("subject") != "attribute":
            return None
        own = self.types.get(event.input_id, {}).get(one.attribute)
        read = {self.types.get(input_id, {}).get(one.attribute) for input_id in match.input_ids or self.inputs}
        # What is a list in one of the workspaces may be one in all.
        return "LIST" if own is None and "LIST" in read and one.test.HasField("list") else own

    def products(self, match: pb.EventMatch, event: Event) -> list[Product]:
        """The products that pass all the product filters. An event without products has one of which nothing is known."""
        return [
            product
            for product in event.details.get("products") or [{}]
            if all(passes_of_event(one.test, product_value(one, product), self.now) for one in match.where if of_product(one))
        ]

    # --- aggregates

    def aggregate(self, criterion: pb.AggregateCriterion) -> Value | Fraction | None:
        """None: there is no value."""
        events = self.counted(criterion.match, criterion.when if criterion.HasField("when") else None)
        function = pb.AggregateFunction.Name(criterion.function).removeprefix("AGGREGATE_FUNCTION_")
        if criterion.WhichOneof("subject") is None:
            assert function == "COUNT"
            return len(events)
        values = [value for event in events for value in self.values(criterion, event) if value is not None and not is_list(value)]
        numbers = [number for value in values if (number := amount(value, 100)) is not None]
        last_spelling = {worth(value): value for value in values}
        match function:
            case "COUNT":
                return len(values)
            case "DISTINCT_COUNT":
                return len(last_spelling)
            case "SUM":
                return sum(numbers, Fraction(0))
            case "AVG":
                return sum(numbers, Fraction(0)) / len(numbers) if numbers else None
            case "MIN":
                return min(numbers, default=None)
            case "MAX":
                return max(numbers, default=None)
            case "FIRST":
                return values[0] if values else None
            case "LAST":
                return values[-1] if values else None
            case "MOST_FREQUENT":
                worths = [worth(value) for value in values]
                most = max((worths.count(one) for one in worths), default=0)
                return next((last_spelling[one] for one in reversed(worths) if worths.count(one) == most), None)
            case "UNIQUE_LIST":
                return [str(text(value)) for value in last_spelling.values()]
            case other:
                raise ValueError(f"the reference knows no function {other}")

    def values(self, criterion: pb.AggregateCriterion, event: Event) -> list[Value | None]:
        """One of an event, or one of each product that passes."""
        if of_product(criterion):
            return [product_value(criterion, product) for product in self.products(criterion.match, event)]
        return [own_value(criterion, event)]

    # --- sequences

    def followed(self, criterion: pb.SequenceCriterion) -> bool:
        """Whether there is a chain of the steps after which what must not follow does not."""
        when = criterion.when if criterion.HasField("when") else None
        first, *others = criterion.steps
        ends = {event.time_ms for event in self.counted(first.match, when)}  # of the chains so far
        for step in others:
            longest = length(step.within) if step.HasField("within") else None
            ends = {
                event.time_ms
                for event in self.counted(step.match, when)
                if any(end < event.time_ms and (longest is None or event.time_ms - end <= longest) for end in ends)
            }
        if not criterion.HasField("not_followed_by"):
            return bool(ends)
        return any(self.stays_alone(end, criterion.not_followed_by) for end in ends)

    def stays_alone(self, end: int, by: pb.NotFollowedBy) -> bool:
        times = [event.time_ms for event in self.events if event.time_ms <= self.now and self.matches(by.match, event)]
        if not by.HasField("within"):
            return not any(time > end for time in times)
        until = end + length(by.within)
        return until <= self.now and not any(end < time <= until for time in times)


def name_matches(match: pb.EventMatch, name: str) -> bool:
    if match.WhichOneof("name_match") == "name":
        return name == match.name
    return match.WhichOneof("name_match") is None or text_passes(match.name_test, name)


def of_product(of: pb.Filter | pb.AggregateCriterion) -> bool:
    return of.WhichOneof("subject") == "product_attribute" or (of.WhichOneof("subject") == "field" and of.field in PRODUCT_FIELDS)


def own_value(of: pb.Filter | pb.AggregateCriterion, event: Event) -> Value | None:
    """Of the event itself; an empty field is missing, an empty attribute is not."""
    if of.WhichOneof("subject") == "attribute":
        value: Value | None = event.details.get("attributes", {}).get(of.attribute)
        return value
    value = EVENT_FIELDS[of.field](event)
    return None if value == "" else value


def product_value(of: pb.Filter | pb.AggregateCriterion, product: Product) -> Value | None:
    if isinstance(of, pb.Filter) and of.WhichOneof("subject") == "product_attribute":
        value: Value | None = product.get("attributes", {}).get(of.product_attribute)
        return value
    value = product.get(PRODUCT_FIELDS[of.field])
    return None if value == "" else value


def worth(value: Value) -> object:
    """What tells values apart: numbers by what they are worth, all else by the text in any case."""
    number = as_number(value)
    return str(text(value)).casefold() if number is None else number


# --- lifetime value


def lifetime_value(events: Sequence[Event], inputs: Collection[int], now: int) -> Fraction:
    """Purchases less refunds of the workspace with these inputs, up to now."""
    signs = {"purchase": 1, "refund": -1}
    return sum(
        (
            signs[event.name] * total(event)
            for event in events
            if event.type == event_type_pb2.EVENT_TYPE_COMMERCE
            and event.name in signs
            and event.input_id in inputs
            and event.time_ms <= now
        ),
        Fraction(0),
    )


def total(event: Event) -> Fraction:
    if "total_amount" in event.details:
        return amount(event.details["total_amount"], 18) or Fraction(0)
    return sum(
        (
            (amount(product.get("price"), 18) or Fraction(0)) * (amount(product.get("quantity", 1), 18) or Fraction(0))
            for product in event.details.get("products", [])
        ),
        Fraction(0),
    )
