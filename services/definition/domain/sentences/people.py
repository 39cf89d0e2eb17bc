"""Criteria over people in words: what they are and have, where they are, to which audiences they belong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from muster.definition.v1 import definition_pb2 as pb

from ..language.lexer import quoted
from ..language.printing import decimal_text
from ..language.words import ATTRIBUTION_FIELDS, DEVICE_FIELDS, IDENTITIES, PLACE_FIELDS, SEEN_EDGES
from .telling import Telling, article
from .values import NEGATIVES, have_words, number_words, test_words, zero_passes
from .when import period_words


def user_attribute(criterion: pb.Criterion, telling: Telling) -> str:
    """`have an attribute "plan" that contains "gold"`."""
    return have_words(f"an attribute {quoted(criterion.user_attribute.attribute)}", criterion.user_attribute.test)


def identity(criterion: pb.Criterion, telling: Telling) -> str:
    """`have an identity of the type email that ends with ".org"`. Of several of a type none may be what a negative test speaks of."""
    noun, test = f"identity of the type {IDENTITIES[criterion.identity.type]}", criterion.identity.test
    if test.string.operator in NEGATIVES:
        positive = pb.ValueTest()
        positive.CopyFrom(test)
        positive.string.operator = pb.StringOperator.ValueType(NEGATIVES[test.string.operator])
        return f"have no {noun} that {test_words(positive)}"
    return have_words(f"an {noun}", test)


def device(criterion: pb.Criterion, telling: Telling) -> str:
    """`have a device model that is "Pixel 9"`."""
    return have_words(article(DEVICE_FIELDS[criterion.device.field]), criterion.device.test)


def seen(criterion: pb.Criterion, telling: Telling) -> str:
    """`were first seen in the last 30 days`."""
    return f"were {SEEN_EDGES[criterion.seen.edge]} {period_words(criterion.seen.when)}"


def location(criterion: pb.Criterion, telling: Telling) -> str:
    """`are in the city "Berlin"`."""
    return LOCATIONS[criterion.location.WhichOneof("kind") or ""](criterion.location)


def _place(of: pb.LocationCriterion) -> str:
    return f"are in the {PLACE_FIELDS[of.place.field].removeprefix('location ')} {quoted(of.place.value)}"


def _near(of: pb.LocationCriterion) -> str:
    distance, latitude, longitude = (decimal_text(number) for number in (of.near.distance_metres, of.near.latitude, of.near.longitude))
    return f"were last at most {distance} metres away from latitude {latitude}, longitude {longitude}"


def consent(criterion: pb.Criterion, telling: Telling) -> str:
    """`gave consent to "mail" under "gdpr"`."""
    of = criterion.consent
    return (
        f"{'gave' if of.consented else 'refused'} consent{f' to {quoted(of.purpose)}' if of.purpose else ''} under {quoted(of.regulation)}"
    )


def lifetime_value(criterion: pb.Criterion, telling: Telling) -> str:
    """`have a lifetime value that is more than 100`."""
    test = criterion.lifetime_value.test
    zero = " (it is 0 without purchases)" if zero_passes(test.comparison, test.value, test.upper) else ""
    return f"have a lifetime value that {number_words(test)}{zero}"


def attribution(criterion: pb.Criterion, telling: Telling) -> str:
    """`have an attribution publisher that is "facebook"`."""
    return have_words(article(ATTRIBUTION_FIELDS[criterion.attribution.field]), criterion.attribution.test)


def member_of(criterion: pb.Criterion, telling: Telling) -> str:
    """`are members of audience 12 ("Buyers")`."""
    number = criterion.member_of.audience_id
    name = telling.audiences.get(number, "")
    return f"are members of audience {number}{f' ({quoted(name)})' if name else ''}"


LOCATIONS: Mapping[str, Callable[[pb.LocationCriterion], str]] = {"place": _place, "near": _near}
