"""The platform API as an OpenAPI 3.1 document, made of the contracts: routes from their rules, schemas from their messages, and words from
their comments, which only the files of the contracts hold. `tools/openapi` writes docs/platform-api.openapi.yaml with it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from .rules import Rule, field_at, rules_of

FILE = Path(__file__).resolve().parents[3] / "docs" / "platform-api.openapi.yaml"
_WIDTH = 140
_PREFIX = "muster."
# The numbers of the fields of descriptor.proto, of which the paths of comments are made.
_MESSAGE, _ENUM, _SERVICE, _FIELD, _VALUE, _METHOD = 4, 5, 6, 2, 2, 2

Schema = dict[str, Any]
Comments = Mapping[str, str]

_ERROR: Schema = {
    "type": "object",
    "description": "What went wrong, and how to mend it.",
    "required": ["code", "message", "reason", "metadata", "details"],
    "properties": {
        "code": {"type": "string", "description": "A code of google.rpc.Code: `NOT_FOUND`."},
        "message": {"type": "string"},
        "reason": {"type": "string", "description": "Stable: `STALE_ETAG`. Empty where the service did not answer."},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}, "description": "What a program needs of it."},
        "details": {
            "type": "array",
            "description": "Every fault of the request.",
            "items": {
                "type": "object",
                "required": ["field", "description", "reason"],
                "properties": {
                    "field": {"type": "string", "description": "The place: `definition.root.all.nodes[1]`."},
                    "description": {"type": "string", "description": "What is wrong, and how to mend it."},
                    "reason": {"type": "string", "description": "Stable: `EMPTY_GROUP`."},
                },
            },
        },
    },
}
_INTRODUCTION = " ".join(
    (
        "Audiences, their revisions, tests and statistics, and where they are sent. Each path is a method of Muster's gRPC contracts.",
        "Fields are named as in the contracts; 64-bit numbers are texts. Fields that are not known are refused by name.",
        "`If-Match` takes what `ETag` gave (412 when it is stale); `Idempotency-Key` makes a create safe to repeat.",
        "Lists have pages: `next_page_token` goes into `page_token`; it is empty on the last one.",
        "Another account's things are 404, as those that are not there.",
        "A PATCH changes what `update_mask` names, otherwise the fields that its body gives.",
    )
)


def comments_of(files: Iterable[FileDescriptorProto]) -> Comments:
    """The comments before messages, fields, enums, values, services and methods, by full name."""
    found: dict[str, str] = {}
    for file in files:
        names = dict(_names(file))
        for location in file.source_code_info.location:
            name = names.get(tuple(location.path))
            if name is not None and location.leading_comments.strip():
                found[name] = " ".join(location.leading_comments.split())
    return found


def document(comments: Comments) -> dict[str, Any]:
    """The whole document."""
    rules = rules_of()
    schemas = _Schemas(comments, frozenset(_requested(rules)))
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(rules, key=lambda one: (path_of(one), one.verb)):
        paths.setdefault(path_of(rule), {})[rule.verb.lower()] = _operation(rule, schemas, comments)
    services = sorted({rule.method.containing_service for rule in rules}, key=lambda service: str(service.full_name))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Muster platform API", "version": "1.0.0", "description": _INTRODUCTION, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": _tag(service.name), "description": comments.get(service.full_name, "")} for service in services],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of an account: `muster token mint`."}
            },
            "schemas": {"Error": _ERROR, **dict(sorted(schemas.made.items()))},
        },
    }


class _Schemas:
    """The schemas of messages and enums, each made when it is first named."""

    def __init__(self, comments: Comments, requested: frozenset[str]) -> None:
        self._comments = comments
        self._requested = requested
        self.made: dict[str, Schema] = {}

    def of(self, field: FieldDescriptor) -> Schema:
        """The schema of a field's value, with its comment."""
        rules = field.GetOptions().Extensions[validate_pb2.field]
        schema = self._of_field(field, rules)
        comment = self._comments.get(field.full_name)
        return {**schema, "description": comment} if comment else schema

    def message(self, message: Descriptor) -> Schema:
        """A reference to the schema of a message."""
        name = _name(message.full_name)
        if name not in self.made:
            self.made[name] = {}
            self.made[name] = self._message(message)
        return {"$ref": f"#/components/schemas/{name}"}

    def _message(self, message: Descriptor) -> Schema:
        schema: Schema = {"type": "object"}
        if comment := self._comments.get(message.full_name):
            schema["description"] = comment
        # `optional` makes a oneof of its own for each field.
        oneofs = [oneof for oneof in message.oneofs if len(oneof.fields) > 1]
        if oneofs:
            chosen = "; ".join(f"at most one of {', '.join(f'`{field.name}`' for field in oneof.fields)}" for oneof in oneofs)
            schema["description"] = f"{schema.get('description', '')} Holds {chosen}.".strip()
        required = [field.name for field in message.fields if field.GetOptions().Extensions[validate_pb2.field].required]
        if required:
            schema["required"] = required
        schema["properties"] = {field.name: self.of(field) for field in message.fields}
        if message.full_name in self._requested:
            schema["additionalProperties"] = False
        return schema

    def _of_field(self, field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Schema:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._one(field.message_type.fields_by_name["value"], rules)}
        if field.is_repeated:
            return {
                "type": "array",
                "items": self._one(field, rules.repeated.items),
                **_given(rules.repeated, minItems="min_items", maxItems="max_items"),
            }
        return self._one(field, rules)

    def _one(self, field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Schema:
        if field.message_type is not None:
            if field.message_type.full_name == "google.protobuf.FieldMask":
                return {"type": "string"}
            return self.message(field.message_type)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        return _SCALARS[field.cpp_type](rules)

    def _enum(self, enum: EnumDescriptor) -> Schema:
        name = _name(enum.full_name)
        if name not in self.made:
            described = [(value.name, self._comments.get(f"{enum.full_name}.{value.name}", "")) for value in enum.values]
            words = [self._comments.get(enum.full_name, ""), *(f"{value}: {comment}" for value, comment in described if comment)]
            schema: Schema = {"type": "string", "enum": [value for value, _ in described]}
            if text := " ".join(word for word in words if word):
                schema["description"] = text
            self.made[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}


def _operation(rule: Rule, schemas: _Schemas, comments: Comments) -> dict[str, Any]:
    method = rule.method
    answer = schemas.message(method.output_type)
    # A line of a stream is described where JSON stands for it.
    kind = "application/x-ndjson" if method.server_streaming else "application/json"
    operation: dict[str, Any] = {"operationId": method.name, "tags": [_tag(method.containing_service.name)]}
    comment = comments.get(method.full_name, "")
    if method.server_streaming:
        comment = f'{comment} A stream: one JSON object a line; a failure after the first is a last line `{{"error": ...}}`.'.strip()
    if comment:
        operation["description"] = comment
    operation["parameters"] = [*_path_parameters(rule, schemas), *_query_parameters(rule, schemas), *_headers(rule)]
    if rule.body_type is not None:
        operation["requestBody"] = {
            "required": rule.body != "*",
            "content": {"application/json": {"schema": schemas.message(rule.body_type)}},
        }
    headers = {"ETag": {"schema": {"type": "string"}}} if "etag" in method.output_type.fields_by_name else {}
    operation["responses"] = {
        "200": {
            "description": "Done.",
            **({"headers": headers} if headers else {}),
            "content": {kind: {"schema": {"type": "string", "description": f"Lines of {_name(method.output_type.full_name)}."}}}
            if method.server_streaming
            else {kind: {"schema": answer}},
        },
        "default": {
            "description": "Not done; the body says why.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        },
    }
    return operation


def _path_parameters(rule: Rule, schemas: _Schemas) -> list[dict[str, Any]]:
    fields = [(path, field_at(rule.method.input_type, path)) for path in rule.template.variables]
    return [{"name": field.name, "in": "path", "required": True, "schema": schemas.of(field)} for _, field in fields if field is not None]


def _query_parameters(rule: Rule, schemas: _Schemas) -> list[dict[str, Any]]:
    return [{"name": field.name, "in": "query", "schema": schemas.of(field)} for field in rule.query.values()]


def _headers(rule: Rule) -> list[dict[str, Any]]:
    headers: list[tuple[str, str, Schema]] = []
    if rule.etag:
        headers.append(("If-Match", "The etag last read, in quotes; only then it is changed.", {"pattern": '^"[!-~]*"$'}))
    if rule.idempotency_key:
        headers.append(("Idempotency-Key", "The same key with the same request answers with the first one's result.", {"maxLength": 100}))
    return [{"name": name, "in": "header", "description": words, "schema": {"type": "string", **limits}} for name, words, limits in headers]


def _given(of: Any, **names: str) -> Schema:
    """The limits that a contract sets, by the names of JSON Schema."""
    fields = of.DESCRIPTOR.fields_by_name
    return {keyword: getattr(of, name) for keyword, name in names.items() if name in fields and of.HasField(name)}


def _integer(name: str, least: int, most: int) -> Callable[[validate_pb2.FieldRules], Schema]:
    def schema(rules: validate_pb2.FieldRules) -> Schema:
        given = _given(getattr(rules, name), minimum="gte", maximum="lte", exclusiveMinimum="gt", exclusiveMaximum="lt")
        return {"type": "integer", "format": name, "minimum": least, "maximum": most, **given}

    return schema


def _long(name: str, pattern: str) -> Callable[[validate_pb2.FieldRules], Schema]:
    return lambda rules: {"type": "string", "format": name, "pattern": pattern}


_SCALARS: Mapping[int, Callable[[validate_pb2.FieldRules], Schema]] = {
    FieldDescriptor.CPPTYPE_STRING: lambda rules: {"type": "string", **_given(rules.string, minLength="min_len", maxLength="max_len")},
    FieldDescriptor.CPPTYPE_BOOL: lambda rules: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_DOUBLE: lambda rules: {"type": "number", "format": "double"},
    FieldDescriptor.CPPTYPE_FLOAT: lambda rules: {"type": "number", "format": "float"},
    FieldDescriptor.CPPTYPE_INT32: _integer("int32", -(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: _integer("uint32", 0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: _long("int64", "^-?[0-9]{1,19}$"),
    FieldDescriptor.CPPTYPE_UINT64: _long("uint64", "^[0-9]{1,20}$"),
}


def _requested(rules: Iterable[Rule]) -> set[str]:
    """The full names of the messages that a body may hold, at any depth."""
    found = set[str]()
    waiting = [rule.body_type for rule in rules]
    while waiting:
        message = waiting.pop()
        if message is None or message.full_name in found:
            continue
        found.add(message.full_name)
        waiting += [field.message_type for field in message.fields]
    return found


def path_of(rule: Rule) -> str:
    """The path as the document has it: one name for a variable, so that all that is done to one thing has one path."""
    return re.sub(r"\{(?:[a-z0-9_]+\.)*([a-z0-9_]+)(?:=[^}]*)?\}", r"{\1}", rule.template.text)


def _tag(service: str) -> str:
    return service.removesuffix("Service")


def _name(full_name: str) -> str:
    """The name of a schema: `muster.forwarder.v1.Connection` is `forwarder.Connection`, as names come in several packages."""
    return full_name.removeprefix(_PREFIX).replace(".v1.", ".")


def _names(file: FileDescriptorProto) -> Iterable[tuple[tuple[int, ...], str]]:
    package = f"{file.package}."
    for i, message in enumerate(file.message_type):
        yield (_MESSAGE, i), package + message.name
        yield from (((_MESSAGE, i, _FIELD, j), f"{package}{message.name}.{field.name}") for j, field in enumerate(message.field))
    for i, enum in enumerate(file.enum_type):
        yield (_ENUM, i), package + enum.name
        yield from (((_ENUM, i, _VALUE, j), f"{package}{enum.name}.{value.name}") for j, value in enumerate(enum.value))
    for i, service in enumerate(file.service):
        yield (_SERVICE, i), package + service.name
        yield from (((_SERVICE, i, _METHOD, j), f"{package}{service.name}.{method.name}") for j, method in enumerate(service.method))


def main(descriptors: str, output: str) -> None:
    """Write the document of a descriptor set with comments, as YAML."""
    files = FileDescriptorSet.FromString(Path(descriptors).read_bytes()).file
    made = document(comments_of(files))
    text = yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=_WIDTH)
    Path(output).write_text("# Made of the contracts by tools/openapi; not edited.\n" + text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
