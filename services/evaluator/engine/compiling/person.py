"""Criteria on what is known of a person beside user attributes."""

from dataclasses import replace

from muster.definition.v1 import definition_pb2 as pb

from .. import tree
from ..facts import EVERYWHERE, Property, PropertyKind, consent, identity, property_of
from ..periods import Window
from ..strings import StringTest, Way
from ..values import AnyTest, BooleanTest, ExistsTest, NearTest, NumberTest, TextTest, TotalTest
from .attribute import compile_test
from .common import NEVER, Refusal, Scope, known, presence_test, string_test, value_test, window_of

# Operating system and platform are one field of what devices send.
DEVICE_FIELDS = {
    pb.DEVICE_FIELD_MODEL: "model",
    pb.DEVICE_FIELD_MANUFACTURER: "manufacturer",
    pb.DEVICE_FIELD_OS: "platform",
    pb.DEVICE_FIELD_OS_VERSION: "os_version",
    pb.DEVICE_FIELD_CARRIER: "carrier",
    pb.DEVICE_FIELD_PLATFORM: "platform",
    pb.DEVICE_FIELD_LANGUAGE: "language",
}
ATTRIBUTION_FIELDS = {pb.ATTRIBUTION_FIELD_PUBLISHER: "publisher", pb.ATTRIBUTION_FIELD_CAMPAIGN: "campaign"}
SEEN_EDGES = {pb.SEEN_EDGE_FIRST: PropertyKind.FIRST_SEEN, pb.SEEN_EDGE_LAST: PropertyKind.LAST_SEEN}
PLACES = {
    pb.PLACE_FIELD_CITY: "$City",
    pb.PLACE_FIELD_STATE: "$State",
    pb.PLACE_FIELD_ZIP: "$Zip",
    pb.PLACE_FIELD_COUNTRY: "$Country",
}


def compile_device(criterion: pb.Criterion, scope: Scope) -> tree.Leaf:
    field = known(DEVICE_FIELDS, criterion.device.field, "device field")
    return compile_test(scope.workspace_of(criterion), Property(PropertyKind.DEVICE, field), criterion.device.test)


def compile_attribution(criterion: pb.Criterion, scope: Scope) -> tree.Leaf:
    field = known(ATTRIBUTION_FIELDS, criterion.attribution.field, "attribution field")
    return compile_test(scope.workspace_of(criterion), Property(PropertyKind.ATTRIBUTION, field), criterion.attribution.test)


def compile_consent(criterion: pb.Criterion, scope: Scope) -> tree.Leaf:
    wanted = criterion.consent
    test = BooleanTest(wanted.consented)
    return tree.Leaf(tree.AttributeTest(scope.workspace_of(criterion), consent(wanted.regulation, wanted.purpose), test))


def compile_identity(criterion: pb.Criterion, scope: Scope) -> tree.Leaf | tree.Group:
    wanted = criterion.identity
    match wanted.test.WhichOneof("kind"):
        case "string":
            test = string_test(wanted.test.string)
            one = AnyTest(replace(test, negative=False))
            return tree.Leaf(tree.AttributeTest(EVERYWHERE, identity(wanted.type), one), negated=test.negative)
        case "presence":
            presence = presence_test(wanted.test.presence)
            if not isinstance(presence, ExistsTest):
                return NEVER
            return tree.Leaf(tree.AttributeTest(EVERYWHERE, identity(wanted.type), presence), negated=presence.missing)
        case kind:
            raise Refusal(f"a test of identities as {kind}", unsupported=True)


def compile_seen(criterion: pb.Criterion, scope: Scope) -> tree.Leaf:
    edge = Property(known(SEEN_EDGES, criterion.seen.edge, "edge of what was seen"))
    window = window_of(criterion.seen.when) if criterion.seen.HasField("when") else Window()
    return tree.Leaf(tree.AttributeDate(scope.workspace_of(criterion), edge, window))


def compile_location(criterion: pb.Criterion, scope: Scope) -> tree.Leaf | tree.Group:
    workspace = scope.workspace_of(criterion)
    match criterion.location.WhichOneof("kind"):
        case "near":
            near = criterion.location.near
            test = NearTest(near.latitude, near.longitude, near.distance_metres)
            return tree.Leaf(tree.AttributeTest(workspace, Property(PropertyKind.LOCATION), test))
        case "place":
            return _place(workspace, criterion.location.place)
        case None:
            raise Refusal("a location of no or an unknown kind", unsupported=True)


def _place(workspace: int, place: pb.PlaceTest) -> tree.Leaf | tree.Group:
    attribute = property_of(known(PLACES, place.field, "place field"))
    equal = TextTest(StringTest.of(Way.EQUALS, [place.value]))
    own = tree.Leaf(tree.AttributeTest(workspace, attribute, equal))
    if place.field != pb.PLACE_FIELD_COUNTRY:
        return own
    unknown = tree.Leaf(tree.AttributeTest(workspace, attribute, ExistsTest()), negated=True)
    of_device = tree.Leaf(tree.AttributeTest(workspace, Property(PropertyKind.DEVICE, "country"), equal))
    return tree.Group(False, (own, tree.Group(True, (unknown, of_device))))


def compile_lifetime_value(criterion: pb.Criterion, scope: Scope) -> tree.Leaf:
    test = value_test(pb.ValueTest(number=criterion.lifetime_value.test))
    if not isinstance(test, NumberTest):
        raise Refusal("a lifetime value is compared with a number")
    total = TotalTest(test)
    criterion_ = tree.AttributeTest(scope.workspace_of(criterion), Property(PropertyKind.LIFETIME_VALUE), total)
    return tree.Leaf(criterion_, negated=total.missing)
