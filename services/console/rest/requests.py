"""An HTTP request as the message of a method: the path, the query, the headers and the body, each field from one place."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from . import bodies
from .faults import Findings, nearest, refuse, shown
from .rules import Rule, field_at, is_text

IF_MATCH = "if-match"
IDEMPOTENCY_KEY = "idempotency-key"
_MASK = "update_mask"
_PARAMETERS_MAX = 1_000


def message_of(rule: Rule, path: Mapping[str, str], query: str, headers: Mapping[str, str], body: bytes) -> Message:
    """The request. `path` are the decoded variables, `query` the raw query, and the names of `headers` are in small letters.

    Raises Refusal with all that is wrong.
    """
    findings = Findings()
    message = GetMessageClass(rule.method.input_type)()
    given = _fill_body(rule, message, body, findings)
    for name, values in _parameters(query, findings).items():
        _fill_parameter(rule, message, name, values, findings)
    _fill_headers(rule, message, headers, findings)
    for name, text in path.items():
        _fill_variable(rule, message, name, text, findings)
    _fill_mask(rule, message, given, findings)
    refuse(findings)
    return message


def _fill_body(rule: Rule, message: Message, body: bytes, findings: Findings) -> Collection[str]:
    """The names of the fields that the body gives, an empty or null one among them."""
    of = rule.body_type
    if of is None:
        if body.strip():
            findings.add("", "NOT_APPLICABLE", "This method takes no body; send it without one.")
        return ()
    if not body.strip():
        if rule.body != "*":
            findings.add(rule.body, "MISSING", f"The body is empty; send the {of.name} as JSON.")
        return ()
    before = len(findings.violations)
    value = bodies.parsed(body, findings)
    prefix = "" if rule.body == "*" else rule.body
    if len(findings.violations) == before:
        bodies.check(value, of, findings, prefix)
    if len(findings.violations) > before:
        return ()
    target = message if rule.body == "*" else getattr(message, rule.body)
    # An empty object is a body too, where presence counts.
    target.SetInParent()
    try:
        ParseDict(value, target)
    except ParseError as fault:
        findings.add(prefix, "WRONG_TYPE", f"The body can't be read: {fault}.")
    return [field.name for field in of.fields if field.name in value or field.json_name in value]


def _fill_mask(rule: Rule, message: Any, given: Collection[str], findings: Findings) -> None:
    """A PATCH that has no mask changes what its body gives, so that an empty value empties a field, whichever service it is."""
    if rule.verb != "PATCH" or _MASK not in rule.query or message.update_mask.paths or findings.violations:
        return
    bound = {path.rpartition(".")[2] for path in (*rule.template.variables, rule.etag)}
    paths = [name for name in given if name not in bound]
    message.update_mask.paths.extend(paths)
    if not paths:
        findings.add(rule.body, "MISSING", "The body changes nothing; give the fields to change, or name those to empty in `update_mask`.")


def _parameters(query: str, findings: Findings) -> dict[str, list[str]]:
    parameters: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS_MAX)
    except UnicodeDecodeError:
        findings.add("", "WRONG_TYPE", "The query is no UTF-8.")
        return {}
    except ValueError:
        findings.add("", "TOO_LARGE", f"The query has more than {_PARAMETERS_MAX} parameters; give fewer.")
        return {}
    for name, value in pairs:
        parameters.setdefault(name, []).append(value)
    return parameters


def _fill_parameter(rule: Rule, message: Message, name: str, values: Sequence[str], findings: Findings) -> None:
    field = rule.query.get(name) or next((one for one in rule.query.values() if one.json_name == name), None)
    at = name[:100]
    if field is None:
        if name in rule.template.variables:
            told = "It is given in the path; leave it out of the query."
        elif rule.body == "*" and field_at(rule.method.input_type, name) is not None:
            told = "It is given in the body; leave it out of the query."
        else:
            told = f"There is no parameter {shown(name)}.{nearest(name, rule.query)}"
        findings.add(at, "UNKNOWN_FIELD", told)
    elif field.message_type is not None:
        getattr(message, field.name).paths.extend(path.strip() for value in values for path in value.split(",") if path.strip())
    elif field.is_repeated:
        _set(message, field, list(values), field.name, findings)
    elif len(values) > 1:
        findings.add(at, "DUPLICATE_KEY", "The parameter comes twice and has one value; keep one.")
    else:
        _set(message, field, values[0], field.name, findings)


def _fill_headers(rule: Rule, message: Message, headers: Mapping[str, str], findings: Findings) -> None:
    if (etag := headers.get(IF_MATCH)) is not None:
        _fill_etag(rule, message, etag.strip(), findings)
    if (key := headers.get(IDEMPOTENCY_KEY)) is not None:
        if not rule.idempotency_key:
            findings.add("Idempotency-Key", "NOT_APPLICABLE", "This method takes no key, so a repetition would not be known; leave it out.")
        elif getattr(message, "idempotency_key") not in ("", key):  # noqa: B009  # a field of some messages only
            findings.add("Idempotency-Key", "DUPLICATE_KEY", "The header and the field `idempotency_key` differ; give one.")
        else:
            message.idempotency_key = key  # type: ignore[attr-defined]


def _fill_etag(rule: Rule, message: Message, text: str, findings: Findings) -> None:
    if text == "*":
        return
    if not rule.etag:
        findings.add("If-Match", "NOT_APPLICABLE", "This method takes no etag; leave the header out.")
        return
    if len(text) < 2 or not (text.startswith('"') and text.endswith('"')) or '"' in text[1:-1]:
        findings.add("If-Match", "UNKNOWN_VALUE", 'The header holds one etag in quotes, as the header ETag gave it: `"..."`.')
        return
    holder: Any = getattr(message, rule.etag.partition(".")[0]) if "." in rule.etag else message
    if holder.etag not in ("", text[1:-1]):
        findings.add("If-Match", "DUPLICATE_KEY", "The header and the field `etag` differ; give one.")
        return
    holder.etag = text[1:-1]


def _fill_variable(rule: Rule, message: Message, path: str, text: str, findings: Findings) -> None:
    *above, name = path.split(".")
    holder: Any = message
    for step in above:
        holder = getattr(holder, step)
    field = holder.DESCRIPTOR.fields_by_name[name]
    given = getattr(holder, name)
    before = len(findings.violations)
    _set(holder, field, text, path, findings)
    # What the body says of the same thing must not be another one.
    if len(findings.violations) == before and given not in (field.default_value, getattr(holder, name)):
        findings.add(path, "NOT_APPLICABLE", "The body names another one than the path; leave it out of the body.")


def _set(message: Message, field: FieldDescriptor, text: str | list[str], path: str, findings: Findings) -> None:
    """Fill a field from a text, or a list from several."""
    assert is_text(field)
    value: Any = [_json(field, one) for one in text] if isinstance(text, list) else _json(field, text)
    own = Findings()
    assert field.containing_type is not None
    bodies.check({field.name: value}, field.containing_type, own)
    for found in own.violations:
        prefix = path.removesuffix(field.name)
        findings.add(f"{prefix}{found.field}", found.reason, found.description)
    if not own.violations:
        ParseDict({field.name: value}, message)


def _json(field: FieldDescriptor, text: str) -> Any:
    """The text as JSON would have it: numbers may stay texts, true and false may not."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    return text
