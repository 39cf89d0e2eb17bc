"""The routes of the platform API: one for each method of the contracts that has a google.api.http rule, read from the descriptors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from muster.definition.v1 import catalogue_service_pb2, definition_service_pb2, language_service_pb2, public_json_service_pb2
from muster.evaluator.v1 import evaluator_service_pb2
from muster.forwarder.v1 import forwarder_service_pb2

from .templates import Template, template_of

CONTRACTS: tuple[FileDescriptor, ...] = (
    definition_service_pb2.DESCRIPTOR,
    language_service_pb2.DESCRIPTOR,
    public_json_service_pb2.DESCRIPTOR,
    catalogue_service_pb2.DESCRIPTOR,
    evaluator_service_pb2.DESCRIPTOR,
    forwarder_service_pb2.DESCRIPTOR,
)
_VERBS = ("get", "put", "post", "delete", "patch")


class BadRule(Exception):
    """A contract holds a rule that cannot be served."""


@dataclass(frozen=True)
class Rule:
    """`verb` is in capitals; `body` is the name of a field, `*` for the whole request, or empty for none."""

    method: MethodDescriptor
    verb: str
    template: Template
    body: str

    @property
    def service(self) -> str:
        """The service that answers: `muster.definition.v1` is definition's."""
        return str(self.method.containing_service.file.package).split(".")[1]

    @cached_property
    def body_type(self) -> Descriptor | None:
        """The message that the body holds; None where there is no body."""
        if self.body == "*":
            return self.method.input_type
        return self.method.input_type.fields_by_name[self.body].message_type if self.body else None

    @cached_property
    def query(self) -> Mapping[str, FieldDescriptor]:
        """The fields that the query may hold: what is neither in the path nor in the body, and has a text."""
        if self.body == "*":
            return {}
        return {
            field.name: field
            for field in self.method.input_type.fields
            if field.name != self.body and field.name not in self.template.variables and is_text(field)
        }

    @cached_property
    def etag(self) -> str:
        """The path of the field that If-Match fills; empty where the method takes no etag, as one that makes something new."""
        if "etag" in self.method.input_type.fields_by_name:
            return "etag"
        of = self.body_type
        changes = self.verb in ("PATCH", "PUT") and of is not None and "etag" in of.fields_by_name
        return f"{self.body}.etag" if changes else ""

    @cached_property
    def idempotency_key(self) -> bool:
        """Whether the method takes an Idempotency-Key."""
        return "idempotency_key" in self.method.input_type.fields_by_name


def rules_of(contracts: Iterable[FileDescriptor] = CONTRACTS) -> list[Rule]:
    """The rules, those with a verb first, as their paths would match a variable too. Raises BadRule."""
    rules = [rule for contract in contracts for service in contract.services_by_name.values() for rule in _of_service(service.methods)]
    return sorted(rules, key=lambda rule: not rule.template.verb)


def field_at(message: Descriptor, path: str) -> FieldDescriptor | None:
    """The field of a path of names with dots; None where there is none."""
    *above, name = path.split(".")
    for step in above:
        field = message.fields_by_name.get(step)
        if field is None or field.message_type is None or field.is_repeated:
            return None
        message = field.message_type
    return message.fields_by_name.get(name)


def is_text(field: FieldDescriptor) -> bool:
    """Whether a value of the field has one text: it is no message, or a mask of fields."""
    return field.message_type is None or field.message_type.full_name == "google.protobuf.FieldMask"


def _of_service(methods: Iterable[MethodDescriptor]) -> Iterator[Rule]:
    for method in methods:
        options = method.GetOptions()
        if not options.HasExtension(annotations_pb2.http):
            continue
        rule: http_pb2.HttpRule = options.Extensions[annotations_pb2.http]
        for one in (rule, *rule.additional_bindings):
            yield _rule(method, one)


def _rule(method: MethodDescriptor, rule: http_pb2.HttpRule) -> Rule:
    verb = rule.WhichOneof("pattern")
    if verb not in _VERBS or method.client_streaming or rule.response_body:
        raise BadRule(f"{method.full_name}: only get, put, post, delete and patch of unary requests are served, and whole answers.")
    found = Rule(method, verb.upper(), template_of(getattr(rule, verb)), rule.body)
    for path in found.template.variables:
        field = field_at(method.input_type, path)
        if field is None or field.message_type is not None or field.is_repeated:
            raise BadRule(f"{method.full_name}: the path's {path} is no field that a text can fill.")
    if rule.body not in ("", "*") and (field_at(method.input_type, rule.body) is None or found.body_type is None):
        raise BadRule(f"{method.full_name}: the body {rule.body} is no message of the request.")
    return found
