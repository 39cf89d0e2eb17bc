"""`muster audience export-json` and `import-json` against real services."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.running import Run
from tests.cli.test_commands import make_audience, make_workspace

MIXED = json.dumps(
    {
        "schema_version": "1.6.0",
        "audience": {
            "operator": "and",
            "expressions": [
                {"operator": "exists", "operand": {"model": "user", "path": "plan"}},
                {"operator": "matches", "left": {"model": "user", "path": "email"}, "right": ".*@example"},
            ],
        },
    }
)


def test_an_audience_goes_out_to_a_file_and_comes_back_as_a_draft(live: Run, tmp_path: Path) -> None:
    made = make_audience(live)
    file = tmp_path / "New people.json"
    out = live("audience", "export-json", made["audience_id"], "--output", file)
    assert out.exit_code == 0, out.err
    assert "how many install events" in out.out
    workspace = make_workspace(live)
    back = live("audience", "import-json", file, "--workspace", workspace, "--json")
    assert back.exit_code == 0, back.err
    assert back.document["audience"]["name"] == "New people"
    assert back.document["audience"]["state"] == "AUDIENCE_STATE_DRAFT"
    printed = live("audience", "export-json", back.document["audience"]["audience_id"])
    assert json.loads(printed.out) == json.loads(file.read_text())


def test_what_cannot_be_read_is_told_with_its_place_and_nothing_is_saved(live: Run, tmp_path: Path) -> None:
    file = tmp_path / "mixed.json"
    file.write_text(MIXED)
    refused = live("audience", "import-json", file, "--workspace", make_workspace(live))
    assert refused.exit_code == 2
    assert "/audience/expressions/1/right" in refused.out
    assert "Nothing was saved" in refused.err
    assert live("audience", "list", "--json").document == {"audiences": []}


def test_a_dry_run_saves_nothing(live: Run) -> None:
    text = json.dumps({"schema_version": "1.6.0", "audience": {"operator": "exists", "operand": {"model": "user"}}})
    told = live("audience", "import-json", "-", "--workspace", make_workspace(live), "--dry-run", stdin=text)
    assert told.exit_code == 0, told.err
    assert "everyone" in told.out
    assert live("audience", "list", "--json").document == {"audiences": []}


def test_an_audience_that_the_form_cannot_say_is_not_written(live: Run, tmp_path: Path) -> None:
    tree = '{"root": {"criterion": {"location": {"near": {"latitude": 50, "longitude": 7, "distance_metres": 500}}}}}'
    made = live("audience", "create", "Near", "--workspace", make_workspace(live), "--definition", "-", "--json", stdin=tree).document
    file = tmp_path / "near.json"
    refused = live("audience", "export-json", made["audience_id"], "--output", file)
    assert refused.exit_code == 1
    assert "A distance from a point" in refused.out
    assert not file.exists()


def test_a_file_that_is_not_there_is_told(muster: Run, tmp_path: Path) -> None:
    missing = muster("audience", "import-json", tmp_path / "none.json", "--workspace", "1")
    assert missing.exit_code == 2
    assert "can't be read" in missing.err
