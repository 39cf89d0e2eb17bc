"""Criteria on user attributes."""

from muster.definition.v1 import definition_pb2 as pb

from .. import tree
from ..facts import property_of
from ..periods import Window
from .common import Scope, value_test, window_of


def compile_user_attribute(criterion: pb.Criterion, scope: Scope) -> tree.Leaf:
    workspace = scope.workspace_of(criterion)
    attribute, test = property_of(criterion.user_attribute.attribute), criterion.user_attribute.test
    if test.WhichOneof("kind") == "date":
        window = window_of(test.date.when) if test.date.HasField("when") else Window()
        return tree.Leaf(tree.AttributeDate(workspace, attribute, window))
    compiled = value_test(test)
    return tree.Leaf(tree.AttributeTest(workspace, attribute, compiled), negated=compiled.missing)
