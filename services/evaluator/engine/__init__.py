"""The computing heart of the evaluator: from events, attributes and time to exact memberships. Pure: numpy in, numpy out."""

from .compile import Compiled, Unsupported, compile_definition
from .engine import Engine
from .facts import AttributeChange, Changes, Estimate, Property, PropertyKind, Series, Value

__all__ = [
    "AttributeChange",
    "Changes",
    "Compiled",
    "Engine",
    "Estimate",
    "Property",
    "PropertyKind",
    "Series",
    "Unsupported",
    "Value",
    "compile_definition",
]
