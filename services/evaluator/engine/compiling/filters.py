"""Filters of events, and what a filter or an aggregate reads of an event."""

from collections.abc import Iterable, Mapping

from muster.definition.v1 import definition_pb2 as pb

from ..details import Place, Subject
from ..filters import Filter
from ..periods import Window
from ..values import DateTest, ValueTest
from .common import Refusal, known, value_test, window_of

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


def filters_of(where: Iterable[pb.Filter]) -> tuple[Filter, ...]:
    """Each once, in an order that doesn't depend on the given one: equal filters are to be shared."""
    return tuple(sorted({_filter(one) for one in where}, key=repr))


def _filter(one: pb.Filter) -> Filter:
    match one.WhichOneof("subject"):
        case "attribute":
            subject = Subject(Place.ATTRIBUTE, one.attribute)
        case "field":
            subject = known(FIELDS, one.field, "field of an event")
        case "product_attribute":
            subject = Subject(Place.PRODUCT_ATTRIBUTE, one.product_attribute)
        case _:
            raise Refusal("a filter of no or an unknown subject", unsupported=True)
    return Filter(subject, test_of(one.test))


def test_of(test: pb.ValueTest) -> ValueTest:
    """Of a value of an event, dates included."""
    if test.WhichOneof("kind") != "date":
        return value_test(test)
    return DateTest(window_of(test.date.when) if test.date.HasField("when") else Window())
