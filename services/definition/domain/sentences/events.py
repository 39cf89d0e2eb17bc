"""Criteria over events in words: which events, how often, what their values come to, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2 as types

from ..language.lexer import quoted
from ..language.words import EVENT_FIELDS
from ..periods import words_of
from .telling import Telling, article, listed
from .values import of_event, string_words, zero_passes
from .when import window_words


class Named(NamedTuple):
    """A kind of events: what people did who have one, and the nouns for one and for several."""

    did: str
    one: str
    several: str


TYPES: Mapping[int, Named] = {
    types.EVENT_TYPE_CUSTOM: Named("had a custom event", "custom event", "custom events"),
    types.EVENT_TYPE_SCREEN_VIEW: Named("viewed a screen", "screen view", "screen views"),
    types.EVENT_TYPE_COMMERCE: Named("had a commerce event", "commerce event", "commerce events"),
    types.EVENT_TYPE_SESSION_START: Named("had a session", "session", "sessions"),
    types.EVENT_TYPE_SESSION_END: Named("ended a session", "end of a session", "ends of a session"),
    types.EVENT_TYPE_CRASH: Named("had a crash", "crash", "crashes"),
    types.EVENT_TYPE_INSTALL: Named("installed", "installation", "installations"),
    types.EVENT_TYPE_UNINSTALL: Named("uninstalled", "removal of the app", "removals of the app"),
    types.EVENT_TYPE_UPGRADE: Named("upgraded", "upgrade", "upgrades"),
    types.EVENT_TYPE_ATTRIBUTION: Named("were attributed", "attribution", "attributions"),
    types.EVENT_TYPE_PUSH: Named("had a push message", "push message", "push messages"),
    types.EVENT_TYPE_OPT_OUT: Named("opted out", "opt-out", "opt-outs"),
    types.EVENT_TYPE_APPLICATION_STATE: Named("changed the app's state", "change of the app's state", "changes of the app's state"),
    types.EVENT_TYPE_PUSH_REGISTRATION: Named("registered for push", "registration for push", "registrations for push"),
    types.EVENT_TYPE_NETWORK_PERFORMANCE: Named("had a network call", "network call", "network calls"),
    types.EVENT_TYPE_BREADCRUMB: Named("left a breadcrumb", "breadcrumb", "breadcrumbs"),
    types.EVENT_TYPE_PROFILE: Named("had a profile event", "profile event", "profile events"),
    types.EVENT_TYPE_USER_ATTRIBUTE_CHANGE: Named("changed an attribute", "change of an attribute", "changes of an attribute"),
    types.EVENT_TYPE_USER_IDENTITY_CHANGE: Named("changed an identity", "change of an identity", "changes of an identity"),
}
# Commerce events by their names.
COMMERCE: Mapping[str, Named] = {
    "purchase": Named("purchased", "purchase", "purchases"),
    "refund": Named("had a refund", "refund", "refunds"),
    "add_to_cart": Named("added to a cart", "add to cart", "adds to cart"),
    "remove_from_cart": Named("removed from a cart", "remove from cart", "removes from cart"),
    "checkout": Named("checked out", "checkout", "checkouts"),
}
FREQUENCIES: Mapping[int, str] = {
    pb.COMPARISON_EQUAL: "exactly {value} {events}",
    pb.COMPARISON_NOT_EQUAL: "any number of {several} but {value}",
    pb.COMPARISON_LESS: "fewer than {value} {events}",
    pb.COMPARISON_LESS_OR_EQUAL: "at most {value} {events}",
    pb.COMPARISON_GREATER: "more than {value} {events}",
    pb.COMPARISON_GREATER_OR_EQUAL: "at least {value} {events}",
    pb.COMPARISON_BETWEEN: "{value} to {upper} {several}",
}
FUNCTIONS: Mapping[int, str] = {
    pb.AGGREGATE_FUNCTION_SUM: "a sum of",
    pb.AGGREGATE_FUNCTION_MIN: "a least value of",
    pb.AGGREGATE_FUNCTION_MAX: "a greatest value of",
    pb.AGGREGATE_FUNCTION_AVG: "an average of",
    pb.AGGREGATE_FUNCTION_COUNT: "a count of",
    pb.AGGREGATE_FUNCTION_DISTINCT_COUNT: "a count of the different values of",
    pb.AGGREGATE_FUNCTION_FIRST: "a first value of",
    pb.AGGREGATE_FUNCTION_LAST: "a last value of",
    pb.AGGREGATE_FUNCTION_MOST_FREQUENT: "a most frequent value of",
    pb.AGGREGATE_FUNCTION_UNIQUE_LIST: "a list of the different values of",
}
# Without any value these are 0 (docs/concepts/criteria.md).
_ZERO_WITHOUT = frozenset({pb.AGGREGATE_FUNCTION_SUM, pb.AGGREGATE_FUNCTION_COUNT, pb.AGGREGATE_FUNCTION_DISTINCT_COUNT})
_PRODUCT_FIELDS = frozenset(number for number, phrase in EVENT_FIELDS.items() if phrase.startswith("product "))


def event(criterion: pb.Criterion, telling: Telling) -> str:
    """`had fewer than 3 sessions in the last 72 hours (or none)`."""
    of, test = criterion.event, criterion.event.frequency
    named, name = _named(of.match)
    which, when = name + _filtered(of.match), window_words(of, telling)
    if not of.HasField("frequency") or (test.comparison == pb.COMPARISON_GREATER and not test.value):
        did = f"had {_one(named, name)}" if name else named.did
        return f"{did}{_filtered(of.match)} {when}"
    if test.comparison == pb.COMPARISON_EQUAL and not test.value:
        return f"had no {named.several}{which} {when}"
    events = named.one if test.value == 1 else named.several
    often = FREQUENCIES[test.comparison].format(value=test.value, upper=test.upper, events=events + which, several=named.several + which)
    none = " (or none)" if zero_passes(test.comparison, str(test.value), str(test.upper)) else ""
    return f"had {often} {when}{none}"


def aggregate(criterion: pb.Criterion, telling: Telling) -> str:
    """`have a sum of the attribute "price" over purchases in the last 7 days that is more than 100`."""
    of = criterion.aggregate
    named, name = _named(of.match)
    subject = of.WhichOneof("subject")
    what = ""
    if subject == "attribute":
        what = f"the attribute {quoted(of.attribute)} over "
    elif subject == "field":
        what = f"{EVENT_FIELDS[of.field]} over "
    value = f"{FUNCTIONS[of.function]} {what}{named.several}{name}{_filtered(of.match)} {window_words(of, telling)}"
    test, number = of_event(of.test), of.test.number
    if of.function in _ZERO_WITHOUT and of.test.WhichOneof("kind") == "number":
        passes = zero_passes(number.comparison, number.value, number.upper)
        test = test.removesuffix(" (and is known)") + (" (it is 0 without any)" if passes else "")
    return f"have {value} that {test}"


def sequence(criterion: pb.Criterion, telling: Telling) -> str:
    """`had in this order an add to cart, then within 2 hours a purchase`."""
    of = criterion.sequence
    first, *others = of.steps
    text = f"had in this order {_some(first.match)}"
    if first.HasField("within"):
        text += f" (at most {words_of(first.within)} after a step before, of which there is none)"
    for step in others:
        within = f"within {words_of(step.within)} " if step.HasField("within") else ""
        text += f", then {within}{_some(step.match)}"
    text += f", {window_words(of, telling)}"
    if of.HasField("not_followed_by"):
        after = of.not_followed_by
        if after.HasField("within"):
            text += f", and afterwards {words_of(after.within)}, which are over, without {_some(after.match)}"
        else:
            text += f", and since then without {_some(after.match)}"
    return text


def _named(match: pb.EventMatch) -> tuple[Named, str]:
    """The kind of the events, and their name as it stands behind the noun; empty where the kind says it."""
    kind = match.WhichOneof("name_match")
    if kind == "name" and match.type == types.EVENT_TYPE_COMMERCE and match.name in COMMERCE:
        return COMMERCE[match.name], ""
    named = TYPES[match.type]
    if kind == "name" and match.type == types.EVENT_TYPE_CUSTOM:
        named = Named(named.did, "event", "events")
    if kind == "name":
        return named, f" {quoted(match.name)}"
    return named, f" with a name that {string_words(match.name_test)}" if kind else ""


def _one(named: Named, name: str) -> str:
    return f"the {named.one}{name}" if name.startswith(' "') else article(named.one) + name


def _some(match: pb.EventMatch) -> str:
    named, name = _named(match)
    return _one(named, name) + _filtered(match)


def _filtered(match: pb.EventMatch) -> str:
    """Filters and inputs: ` where total amount is more than 100 from input 5`."""
    text = ""
    if match.where:
        text = f" where {' and '.join(f'{_subject(one)} {of_event(one.test)}' for one in match.where)}"
        if sum(one.HasField("product_attribute") or one.field in _PRODUCT_FIELDS for one in match.where) > 1:
            text += " (all of one product)"
    if match.input_ids:
        numbers = [str(number) for number in sorted(set(match.input_ids))]
        text += f" from {'inputs' if len(numbers) > 1 else 'input'} {listed(numbers)}"
    return text


def _subject(one: pb.Filter) -> str:
    return {
        "attribute": lambda: f"the attribute {quoted(one.attribute)}",
        "field": lambda: EVENT_FIELDS[one.field],
        "product_attribute": lambda: f"the product attribute {quoted(one.product_attribute)}",
    }[one.WhichOneof("subject") or ""]()
