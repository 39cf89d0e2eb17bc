"""Whatever is exported comes back the same, or the report says how it differs; whatever is sent is read or refused, and nothing raises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from services.definition.domain.canonical import same
from services.definition.domain.public_json.exporting import exported
from services.definition.domain.public_json.importing import imported
from services.definition.domain.public_json.models import MODELS
from services.definition.domain.public_json.operands import AGGREGATION_WORDS, OPERATORS
from services.definition.domain.public_json.report import Outcome
from tests.definition.trees import definitions, right_definitions

# The workspace that a definition of the strategies names.
WORKSPACES = (11,)
SCHEMA = jsonschema_rs.validator_for(json.loads((Path(__file__).parents[2] / "docs" / "public-json.schema.json").read_text()))


@given(right_definitions() | definitions())
@settings(max_examples=400, deadline=None)
def test_what_is_exported_comes_back_or_the_report_says_how_it_differs(tree: pb.Definition) -> None:
    text, report = exported(tree, WORKSPACES)
    assert bool(text) == report.complete
    for entry in report.entries:
        assert entry.place.startswith("definition")
        assert entry.why is None or entry.description.endswith(".")
    if not text:
        return
    SCHEMA.validate(json.loads(text))
    again, read = imported(text)
    assert again is not None, read.entries
    if report.exact:
        assert same(tree, WORKSPACES, again, WORKSPACES)
    # What was said in another way is said in the same way from then on.
    text_again, _ = exported(again, WORKSPACES)
    assert text_again == text


_WORDS = st.sampled_from(
    [
        *OPERATORS,
        *AGGREGATION_WORDS,
        *MODELS,
        "between",
        "type",
        "name",
        "timestamp",
        "input_id",
        "attributes.a",
        "email",
        "city",
        "gdpr",
        "month",
    ]
)
_VALUES = (
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(allow_nan=False, allow_infinity=False) | _WORDS | st.text(max_size=3)
)
_KEYS = st.sampled_from(
    [
        *("operator", "left", "right", "operand", "expressions", "sequence", "condition", "group_by_model", "alias", "model", "path"),
        *("audience", "date", "absolute", "relative", "offset", "unit", "boundary", "relative_to", "location", "other"),
    ]
)
_ANY = st.recursive(_VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=20)


def _of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    path = st.fixed_dictionaries({"model": st.sampled_from(MODELS), "path": _WORDS})
    date = st.fixed_dictionaries(
        {"date": st.fixed_dictionaries({"relative": st.fixed_dictionaries({"offset": st.integers(-9, 1), "unit": _WORDS})})}
    )
    aggregation = st.fixed_dictionaries(
        {
            "operator": st.sampled_from(AGGREGATION_WORDS),
            "group_by_model": st.just("user"),
            "operand": path | st.just({"model": "events"}),
            "condition": inner,
        }
    )
    return st.one_of(
        st.fixed_dictionaries(
            {"operator": st.sampled_from(OPERATORS), "left": path | aggregation | inner, "right": _VALUES | date | inner}
        ),
        st.fixed_dictionaries({"operator": st.sampled_from(OPERATORS), "operand": path | aggregation | inner}),
        st.fixed_dictionaries({"operator": st.sampled_from(["and", "or"]), "expressions": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries(
            {
                "operator": st.just("then"),
                "sequence": st.lists(st.fixed_dictionaries({"alias": _WORDS, "operand": path, "condition": inner}), max_size=2),
            }
        ),
    )


EXPRESSIONS = st.recursive(_ANY, _of, max_leaves=12)


@given(EXPRESSIONS)
@settings(max_examples=400, deadline=None)
def test_whatever_is_sent_is_read_or_refused_with_its_place(audience: Any) -> None:
    document = {"schema_version": "1.6.0", "audience": audience}
    tree, report = imported(json.dumps(document))
    assert (tree is None) == any(entry.outcome is Outcome.REFUSED for entry in report.entries)
    for entry in report.entries:
        assert _is_there(document, entry.place), entry
    if tree is not None:
        text, written = exported(tree, WORKSPACES)
        assert written.complete, written.entries
        again, _ = imported(text)
        assert again is not None
        assert same(tree, WORKSPACES, again, WORKSPACES)


def _is_there(value: Any, place: str) -> bool:
    for step in place.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return False
    return True
