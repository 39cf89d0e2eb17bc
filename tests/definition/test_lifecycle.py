"""The states of an audience, its edits, and the words that go with them: rules alone, without a database."""

from __future__ import annotations

import pytest

from services.definition.domain.audiences import Audience, Edit, edited, transferred, with_edit
from services.definition.domain.faults import Findings, Place, reasons
from services.definition.domain.keys import new_input_key
from services.definition.domain.lifecycle import AudienceDeleted, AudienceNotActive, Move, State, moved
from services.definition.domain.texts import check_description, check_name, few, folded
from services.definition.domain.uses import AudienceInUse, User, Uses, refuse_use
from tests.definition.builders import WORKSPACE, definition, everyone, seed

DRAFT, ACTIVE, INACTIVE, DELETED = State


@pytest.mark.parametrize(
    ("move", "leads"),
    [
        (Move.ACTIVATE, {DRAFT: ACTIVE, ACTIVE: ACTIVE, INACTIVE: ACTIVE, DELETED: AudienceDeleted}),
        (Move.DEACTIVATE, {DRAFT: AudienceNotActive, ACTIVE: INACTIVE, INACTIVE: INACTIVE, DELETED: AudienceDeleted}),
        (Move.DELETE, {DRAFT: DELETED, ACTIVE: DELETED, INACTIVE: DELETED, DELETED: DELETED}),
        (Move.EDIT, {DRAFT: DRAFT, ACTIVE: ACTIVE, INACTIVE: INACTIVE, DELETED: AudienceDeleted}),
        (Move.CLONE, {DRAFT: DRAFT, ACTIVE: ACTIVE, INACTIVE: INACTIVE, DELETED: AudienceDeleted}),
    ],
)
def test_where_each_move_leads_from_each_state(move: Move, leads: dict[State, State | type[Exception]]) -> None:
    for state in State:
        expected = leads[state]
        if isinstance(expected, State):
            assert moved(state, move, audience_id=7) is expected
        else:
            with pytest.raises(expected, match="audience 7"):
                moved(state, move, audience_id=7)


def audience(**fields: object) -> Audience:
    values = {
        "audience_id": 7,
        "account_id": 1,
        "name": "a",
        "workspace_ids": (WORKSPACE,),
        "definition": definition(everyone("e")),
        "create_time_ms": 1,
        "update_time_ms": 1,
        "created_by": "ann",
        "updated_by": "ann",
    }
    return Audience(**{**values, **fields})  # type: ignore[arg-type]


def test_an_edit_that_changes_nothing_is_the_same_audience() -> None:
    before = edited(audience(), with_edit(audience(), Edit(definition=definition(everyone()))), author="bob", now_ms=2)
    assert edited(before, with_edit(before, Edit(name="a", definition=definition(everyone()))), author="bob", now_ms=3) is before


def test_an_edit_of_the_name_is_a_version_and_no_revision() -> None:
    before = audience()
    after = edited(before, with_edit(before, Edit(name="b")), author="bob", now_ms=2)
    assert (after.version, after.revision, after.updated_by, after.update_time_ms, after.created_by) == (2, 1, "bob", 2, "ann")


def test_an_edit_of_definition_workspaces_or_inputs_is_a_revision() -> None:
    before = audience()
    for edit in (Edit(definition=seed()), Edit(workspace_ids=(1, 2)), Edit(input_ids=(11,))):
        assert edited(before, with_edit(before, edit), author="bob", now_ms=2).revision == 2
    two = audience(workspace_ids=(1, 2), input_ids=(11, 12))
    swapped = edited(two, with_edit(two, Edit(workspace_ids=(2, 1), input_ids=(12, 11))), author="bob", now_ms=2)
    assert (swapped.version, swapped.revision) == (2, 1)


def test_a_deletion_has_its_time() -> None:
    deleted = transferred(audience(), Move.DELETE, author="bob", now_ms=5)
    assert (deleted.state, deleted.delete_time_ms, deleted.version) == (DELETED, 5, 2)
    assert transferred(deleted, Move.DELETE, author="bob", now_ms=6) is deleted


def test_users_are_named_as_far_as_they_fit() -> None:
    refuse_use(audience(), Uses())
    with pytest.raises(AudienceInUse, match=r"The audience 7 is used by the audiences 8 \(b\), 9 \(c\); end these first"):
        refuse_use(audience(), Uses([User(8, "b", ACTIVE), User(9, "c", DRAFT)]))
    assert few(["x" * 300] * 5) == f"{'x' * 300} and 4 more"
    assert few([]) == ""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", []),
        ("x" * 100, []),
        ("🙂" * 100, []),
        ("", ["NAME_EMPTY"]),
        ("  ", ["NAME_EMPTY"]),
        ("x" * 101, ["NAME_TOO_LONG"]),
        ("a\0", ["CONTROL_CHARACTER"]),
        ("a\nb", ["CONTROL_CHARACTER"]),
        ("\ud800", ["CONTROL_CHARACTER"]),
        ("\t" + "x" * 101, ["NAME_TOO_LONG", "CONTROL_CHARACTER"]),
    ],
)
def test_names(name: str, expected: list[str]) -> None:
    findings = Findings()
    check_name(name, Place(findings, "name"))
    assert reasons(findings.faults) == expected


def test_an_external_name_may_be_empty_but_not_blank() -> None:
    findings = Findings()
    check_name("", Place(findings, "external_name"), required=False)
    assert findings.faults == []
    check_name(" ", Place(findings, "external_name"), required=False)
    assert reasons(findings.faults) == ["NAME_EMPTY"]


def test_a_description_has_lines() -> None:
    findings = Findings()
    check_description("one\r\n\ttwo", Place(findings, "description"))
    assert findings.faults == []
    check_description("x" * 2_001 + "\x1b", Place(findings, "description"))
    assert reasons(findings.faults) == ["TOO_LARGE", "CONTROL_CHARACTER"]


def test_folding_is_that_of_unicode() -> None:
    assert folded("STRASSE") == folded("straße")
    assert folded("e\u0301") == folded("É")


def test_the_secret_of_an_input_does_not_show_in_its_text() -> None:
    key = new_input_key()
    assert key.api_secret not in repr(key)
    assert len(key.api_secret_sha256) == 32
    assert new_input_key().api_key != key.api_key
