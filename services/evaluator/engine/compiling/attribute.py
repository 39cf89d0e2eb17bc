"""Criteria on user attributes, and on what is tested like them."""

from muster.definition.v1 import definition_pb2 as pb

from .. import tree
from ..facts import Property, property_of
from ..values import AttributeType, DateTest, read_as
from .common import Scope, value_test


def compile_user_attribute(criterion: pb.Criterion, scope: Scope) -> tree.Leaf:
    wanted, workspace = criterion.user_attribute, scope.workspace_of(criterion)
    type_ = scope.types_of(workspace).of_users.get(wanted.attribute)
    return compile_test(workspace, property_of(wanted.attribute), wanted.test, type_)


def compile_test(workspace: int, property_: Property, test: pb.ValueTest, type_: AttributeType | None = None) -> tree.Leaf:
    """A test of the value that a person has of a property."""
    compiled = read_as(value_test(test), type_)
    if isinstance(compiled, DateTest):
        return tree.Leaf(tree.AttributeDate(workspace, property_, compiled.window))
    return tree.Leaf(tree.AttributeTest(workspace, property_, compiled), negated=compiled.missing)
