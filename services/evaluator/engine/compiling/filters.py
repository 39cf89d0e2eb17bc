"""Filters of events, and what a filter or an aggregate reads of an event."""

from collections.abc import Mapping, Sequence

from muster.definition.v1 import definition_pb2 as pb

from ..details import Place, Subject
from ..filters import Filter
from ..values import WrongType, read_as
from .common import Refusal, Scope, known, value_test

FILTERS_MAX = 100
FIELDS: Mapping[int, Subject] = {
    pb.EVENT_FIELD_APPLICATION_VERSION: Subject(Place.CONTEXT, "application_version"),
    pb.EVENT_FIELD_APPLICATION_BUILD: Subject(Place.CONTEXT, "application_build"),
    pb.EVENT_FIELD_PLATFORM: Subject(Place.CONTEXT, "platform"),
    pb.EVENT_FIELD_PRODUCT_ID: Subject(Place.PRODUCT_FIELD, "id"),
    pb.EVENT_FIELD_PRODUCT_NAME: Subject(Place.PRODUCT_FIELD, "name"),
    pb.EVENT_FIELD_PRODUCT_BRAND: Subject(Place.PRODUCT_FIELD, "brand"),
    pb.EVENT_FIELD_PRODUCT_CATEGORY: Subject(Place.PRODUCT_FIELD, "category"),
    pb.EVENT_FIELD_PRODUCT_VARIANT: Subject(Place.PRODUCT_FIELD, "variant"),
    pb.EVENT_FIELD_PRODUCT_PRICE: Subject(Place.PRODUCT_FIELD, "price"),
    pb.EVENT_FIELD_PRODUCT_QUANTITY: Subject(Place.PRODUCT_FIELD, "quantity"),
    pb.EVENT_FIELD_PRODUCT_COUPON_CODE: Subject(Place.PRODUCT_FIELD, "coupon_code"),
    pb.EVENT_FIELD_TOTAL_AMOUNT: Subject(Place.FIELD, "total_amount"),
    pb.EVENT_FIELD_TRANSACTION_ID: Subject(Place.FIELD, "transaction_id"),
    pb.EVENT_FIELD_CURRENCY_CODE: Subject(Place.FIELD, "currency_code"),
    pb.EVENT_FIELD_SESSION_DURATION: Subject(Place.FIELD, "session_duration_ms"),
}


def filters_of(where: Sequence[pb.Filter], inputs: frozenset[int], scope: Scope) -> tuple[tuple[Filter, ...], frozenset[int]]:
    """Each once, in an order that doesn't depend on the given one: equal filters are to be shared. And of the inputs those whose events may
    pass: not where an attribute is read as another type than it is tested as."""
    if len(where) > FILTERS_MAX:
        raise Refusal(f"{len(where)} filters: keep {FILTERS_MAX} or fewer")
    read = [_filter(one, inputs, scope) for one in where]
    return tuple(sorted({one for one, _ in read}, key=repr)), inputs.intersection(*(able for _, able in read))


def _filter(one: pb.Filter, inputs: frozenset[int], scope: Scope) -> tuple[Filter, frozenset[int]]:
    test = value_test(one.test)
    match one.WhichOneof("subject"):
        case "attribute":
            subject = Subject(Place.ATTRIBUTE, one.attribute)
            readings = {input_id: read_as(test, scope.type_of_event(input_id, one.attribute)) for input_id in inputs}
            inputs = frozenset(input_id for input_id, reading in readings.items() if not isinstance(reading, WrongType))
            # Where the inputs are of several workspaces, only a test of lists has two readings; the wider one is for all.
            test = next((readings[input_id] for input_id in inputs if readings[input_id] != test), test)
        case "field":
            subject = known(FIELDS, one.field, "field of an event")
        case "product_attribute":
            subject = Subject(Place.PRODUCT_ATTRIBUTE, one.product_attribute)
        case _:
            raise Refusal("a filter of no or an unknown subject", unsupported=True)
    return Filter(subject, test), inputs
