"""Criteria on user attributes, and on what is tested like them."""

from muster.definition.v1 import definition_pb2 as pb

from .. import tree
from ..facts import Property, property_of
from ..periods import Window
from .common import Scope, value_test, window_of


def compile_user_attribute(criterion: pb.Criterion, scope: Scope) -> tree.Leaf:
    wanted = criterion.user_attribute
    return compile_test(scope.workspace_of(criterion), property_of(wanted.attribute), wanted.test)


def compile_test(workspace: int, property_: Property, test: pb.ValueTest) -> tree.Leaf:
    """A test of the value that a person has of a property."""
    if test.WhichOneof("kind") == "date":
        window = window_of(test.date.when) if test.date.HasField("when") else Window()
        return tree.Leaf(tree.AttributeDate(workspace, property_, window))
    compiled = value_test(test)
    return tree.Leaf(tree.AttributeTest(workspace, property_, compiled), negated=compiled.missing)
