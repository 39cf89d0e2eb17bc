"""Audiences as code against real services: what is applied is there, to the byte, whatever happens in between."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.code.applying import Applying
from tests.cli.code.folders import FILES, contents, cut_after, fill, furnish, number_of, states, wipe
from tests.cli.running import ROOT, Run


def applied(live: Run, folder: Path, *options: str) -> None:
    done = live("apply", folder, "--yes", *options)
    assert done.exit_code == 0, done.out + done.err
    same = live("diff", folder, *options)
    assert same.exit_code == 0, same.out + same.err


def test_exported_wiped_and_applied_is_the_same_to_the_byte(live: Run, tmp_path: Path) -> None:
    furnish(live)
    applied(live, fill(tmp_path / "files"))
    before = contents(live, tmp_path / "before")
    assert set(before) == {
        *("audience.schema.json", "gone.yaml", "later.yaml", "on-the-shelf.yaml", "outer.yaml", "plain.yaml"),
        "inner-the-first-no-1.yaml",
    }
    # What is exported says the same as what was written by hand, and no number.
    assert live("diff", tmp_path / "before").exit_code == 0
    said = b"".join(re.sub(rb'"[^"\n]*"', b"", text) for name, text in before.items() if name.endswith(".yaml"))
    assert not re.search(rb"(workspace|inputs?|member of) \(?[0-9]", said)
    old = number_of(live, "Outer")
    wipe(live)
    assert live("diff", tmp_path / "before").exit_code == 1
    applied(live, tmp_path / "before")
    assert contents(live, tmp_path / "after") == before
    # By what they mean, told by the service itself.
    new = number_of(live, "Outer")
    assert new != old
    inner, plain = number_of(live, 'Inner: the "first", № 1'), number_of(live, "Plain")
    assert f"member of {inner}\nand not member of {plain}\n" in live("audience", "show", new, "--json").document["text"]


def test_applied_twice_changes_nothing(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files")
    applied(live, folder)
    before = states(live)
    again = live("apply", folder, "--yes", "--json")
    assert (again.exit_code, again.document["same"], again.document["outcomes"]) == (0, True, [])
    assert states(live) == before


FEW = {name: FILES[name] for name in ("plain.yaml", "inner.yaml", "outer.yaml")}
CHANGED = {
    "plain.yaml": FEW["plain.yaml"].replace("name: Plain", "name: Renamed\nprevious_name: Plain\nstate: active"),
    "inner.yaml": FEW["inner.yaml"].replace("72 hours", "71 hours").replace("state: active", "state: inactive"),
    "outer.yaml": FEW["outer.yaml"]
    .replace("percentage: 20", "percentage: 25")
    .replace("  - {configuration: Hook}\n", "")
    .replace('member of "Plain"', 'member of "Renamed" and not member of "New"'),
    "new.yaml": "name: New\nworkspaces: [App]\ndefinition: crash\n",
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("before", "after", "changes"),
    # Three audiences, two activations, a test and three connections.
    # An audience, three edits, an activation and a deactivation, a test for another, a connection that ends and two that begin.
    [({}, FEW, 9), (FEW, CHANGED, 11)],
    ids=["new", "changed"],
)
def test_what_was_cut_off_anywhere_is_finished_by_the_next_one(
    live: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: dict[str, str], changes: int
) -> None:
    def account() -> None:
        monkeypatch.setenv("MUSTER_ACCOUNT", live("account", "create", "Another", "--json").document["account_id"])
        furnish(live)
        if before:
            applied(live, fill(tmp_path / "files", before))

    account()
    applied(live, fill(tmp_path / "files", after))
    whole = contents(live, tmp_path / "whole")
    calls = 0
    while True:
        account()
        folder = fill(tmp_path / "files", after)
        with monkeypatch.context() as cut:
            cut_after(cut, calls)
            stopped = live("apply", folder, "--yes")
        if stopped.exit_code == 0:
            break
        assert stopped.exit_code == 3, stopped.err
        assert "it goes on where it stopped" in stopped.err
        applied(live, folder)
        assert contents(live, tmp_path / f"cut {calls}") == whole
        assert len(live("audience", "list", "--json").document["audiences"]) == len(after)
        (folder / "new.yaml").unlink(missing_ok=True)
        calls += 1
    # And what is asked for again under another key.
    assert calls >= changes


def test_a_kill_in_the_middle_leaves_what_the_next_one_finishes(live: Run, tmp_path: Path) -> None:
    furnish(live)
    many = FILES | {
        f"{n}.yaml": f"name: Number {n}\nworkspaces: [Shop]\ndefinition: sessions < {n + 1}\nstate: active\n" for n in range(30)
    }
    folder = fill(tmp_path / "files", many)
    command = [sys.executable, "-m", "cli", "apply", str(folder), "--yes"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("created Number 1"):
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    left = len(live("audience", "list", "--json").document["audiences"])
    assert 0 < left < len(many)
    applied(live, folder)
    after = contents(live, tmp_path / "after")
    wipe(live)
    applied(live, folder)
    assert contents(live, tmp_path / "whole") == after


def test_two_at_once_make_everything_once(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files")
    command = [sys.executable, "-m", "cli", "apply", str(folder), "--yes"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    both = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    # One may be told that the other was first.
    assert {process.wait() for process in both} <= {0, 1}
    applied(live, folder)
    assert len(live("audience", "list", "--json").document["audiences"]) + 1 == len(FILES)


@pytest.mark.parametrize(("answer", "code", "audiences"), [("n", 1, 0), ("y", 0, 1)])
def test_a_person_is_asked(live: Run, tmp_path: Path, answer: str, code: int, audiences: int) -> None:
    furnish(live)
    folder = fill(tmp_path / "files", {"plain.yaml": FILES["plain.yaml"]})
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cli", "apply", str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    os.write(ours, f"{answer}\n".encode())
    asked = subprocess.run(command, cwd=ROOT, env=environment, stdin=theirs, capture_output=True, text=True, timeout=60, check=False)
    os.close(ours)
    os.close(theirs)
    assert (asked.returncode, "Make 1 change?" in asked.stdout) == (code, True), asked
    assert len(live("audience", "list", "--json").document["audiences"]) == audiences


def test_what_was_changed_by_hand_is_found_and_set_right(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files")
    applied(live, folder)
    before = contents(live, tmp_path / "before")
    plain, outer, gone = (number_of(live, name) for name in ("Plain", "Outer", "Gone"))
    edited = live(
        "audience", "edit", plain, "--text", "sessions < 4 and crash", "--tag", "new", "--description", "Why", "--external-name", "P"
    )
    assert edited.exit_code == 0, edited.err
    assert live("audience", "archive", gone).exit_code == 0
    assert live("audience", "deactivate", outer).exit_code == 0
    assert live("test", "delete", outer).exit_code == 0
    found = live("diff", folder, "--json")
    assert found.exit_code == 1
    changes = {change["name"]: change for change in found.document["changes"]}
    assert {name: change["steps"] for name, change in changes.items()} == {
        "Plain": ["edit"],
        "Gone": ["unarchive"],
        "Outer": ["activate", "create test", "create connection", "create connection"],
    }
    told = [(one["field"], one["before"], one["after"]) for one in changes["Plain"]["differences"]]
    assert told[:3] == [("external_name", "P", ""), ("description", "Why", ""), ("tags", "new", "")]
    # By criterion: the frequency changed, and the group came.
    assert [field for field, _, _ in told[3:]] == ["definition"] * len(told[3:])
    assert any("fewer than 4" in before and "fewer than 3" in after for _, before, after in told)
    for_people = live("diff", folder)
    assert for_people.exit_code == 1
    assert "state: inactive -> active" in for_people.out
    assert "test: + Buttons: Blue 20%, Red 30%" in for_people.out
    applied(live, folder)
    assert contents(live, tmp_path / "after") == before


def test_another_test_takes_the_place_of_the_one_that_was(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files")
    applied(live, folder)
    old = {one["connection_id"]: one for one in live("connection", "list", "--json").document["connections"]}
    (folder / "outer.yaml").write_text(FILES["outer.yaml"].replace("percentage: 20", "percentage: 25"))
    shown = live("diff", folder, "--json").document["changes"]
    assert [change["steps"] for change in shown] == [["delete test", "create test", *["create connection"] * 2]]
    applied(live, folder)
    new = {one["connection_id"]: one for one in live("connection", "list", "--json").document["connections"]}
    # That of the whole audience stays.
    assert [one["variation"] for number, one in new.items() if number in old] == [""]
    assert sorted(one["variation"] for one in new.values()) == ["", "Blue", "Control"]


def test_what_somebody_else_changed_meanwhile_is_left_and_told(live: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    furnish(live)
    folder = fill(tmp_path / "files")
    applied(live, folder)
    inner, plain = (number_of(live, name) for name in ('Inner: the "first", № 1', "Plain"))
    for name in ("inner.yaml", "outer.yaml", "plain.yaml"):
        (folder / name).write_text(FILES[name] + "description: Other\n" * (name != "inner.yaml"))
    (folder / "inner.yaml").write_text(FILES["inner.yaml"].replace("72 hours", "71 hours"))

    whole = Applying.run

    def after_somebody_else(self: Applying) -> object:
        assert live("audience", "edit", inner, "--description", "Mine").exit_code == 0
        return whole(self)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Applying, "run", after_somebody_else)
        done = live("apply", folder, "--yes", "--json")
    assert done.exit_code == 1
    outcomes = {outcome["name"]: outcome for outcome in done.document["outcomes"]}
    assert outcomes['Inner: the "first", № 1']["error"]["reason"] == "STALE_ETAG"
    assert "nothing of theirs was overwritten" in outcomes['Inner: the "first", № 1']["error"]["message"]
    assert "Not begun" in outcomes["Outer"]["error"]["message"]
    assert outcomes["Plain"]["error"] is None
    assert live("audience", "show", inner, "--json").document["description"] == "Mine"
    assert live("audience", "show", plain, "--json").document["description"] == "Other"
    applied(live, folder)


def test_what_has_no_file_is_deleted_only_when_asked(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files")
    applied(live, folder)
    for name in ("outer.yaml", "gone.yaml", "inner.yaml"):
        (folder / name).unlink()
    kept = live("diff", folder)
    assert (kept.exit_code, "Without a file, and left alone: Gone, Inner" in kept.err) == (0, True), kept.err
    shown = live("diff", folder, "--prune")
    assert shown.exit_code == 1
    assert "with its test Buttons" in shown.out
    assert "with its connection to Other hook (Control)" in shown.out
    # The one that reads goes before the one that is read.
    assert shown.out.index("- Outer") < shown.out.index("- Inner")
    assert live("apply", folder, "--prune").exit_code == 2
    applied(live, folder, "--prune")
    assert {one["name"] for one in live("audience", "list", "--json").document["audiences"]} == {"Plain", "Later"}
    # And with the files again, everything is there again: what was made before is not taken for it.
    applied(live, fill(folder))
    assert len(live("audience", "list", "--json").document["audiences"]) == 5


def test_what_a_file_reads_is_never_deleted(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files")
    applied(live, folder)
    (folder / "plain.yaml").unlink()
    refused = live("diff", folder, "--prune")
    assert refused.exit_code == 2
    assert "gone.yaml:3:13: it reads 'Plain', which has no file and would be deleted" in refused.err
    assert "outer.yaml:6:13: it reads 'Plain'" in refused.err


def test_an_audience_is_renamed_with_all_that_reads_it(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files")
    applied(live, folder)
    number = number_of(live, "Plain")
    (folder / "plain.yaml").write_text(FILES["plain.yaml"].replace("name: Plain", "name: Renamed\nprevious_name: Plain"))
    assert "gone.yaml:3:27: the audience 'Plain' is to be called 'Renamed'; write that" in live("diff", folder).err
    for name in ("plain.yaml", "gone.yaml", "outer.yaml"):
        text = FILES[name].replace('member of "Plain"', 'member of "Renamed"').replace("name: Plain", "name: Renamed\nprevious_name: Plain")
        (folder / name).write_text(text)
    shown = live("diff", folder, "--json").document["changes"]
    assert [(one["change"], one["name"], one["steps"]) for one in shown] == [("edit", "Renamed", ["edit"])]
    assert shown[0]["differences"] == [{"field": "name", "before": "Plain", "after": "Renamed"}]
    applied(live, folder)
    assert number_of(live, "Renamed") == number


def test_all_faults_of_names_and_definitions_are_told_with_their_places(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files")
    applied(live, folder)
    wrong = {
        "a.yaml": "name: A\nworkspaces: [Shp]\ninputs: [Wb]\ndefinition: everyone\nconnections: [{configuration: Hok}]\n",
        "b.yaml": 'name: B\nworkspaces: [Shop]\ndefinition: |\n  member of "Plane"\n    and sesions < 3 and member of 7\n',
        "c.yaml": 'name: C\nworkspaces: [Shop]\ndefinition: crash within 400 days and member of "D"\n',
        "d.yaml": 'name: D\nworkspaces: [Shop]\ndefinition: "member of \\"E\\""\n',
        "e.yaml": 'name: E\nworkspaces: [Shop]\ndefinition: >\n  member of\n  "D"\n',
        "f.yaml": "name: Plain\nworkspaces: [Shop]\ndefinition: everyone\nstat: draft\n",
        "g.yaml": "name: Outer\nworkspaces: [Shop]\ndefinition: everyone\n",
        "h.yaml": 'name: H\nworkspaces: [App, Shop]\ninputs: [Web]\ndefinition: plan = "x"\n',
        "bomb.yaml": "a: &a [x]\nb: *a\n",
    }
    fill(folder, wrong)
    (folder / "outer.yaml").rename(folder / "x.yaml")
    told = live("diff", folder)
    assert told.exit_code == 2
    lines = [line.strip() for line in told.err.splitlines()]
    for expected in (
        "a.yaml:2:14: there is no workspace 'Shp'; did you mean 'Shop'?",
        "a.yaml:3:10: there is no input 'Wb'; did you mean 'Web'?",
        "a.yaml:5:31: there is no configuration 'Hok'; did you mean 'Hook'?",
        "b.yaml:4:13: there is no audience 'Plane'; did you mean 'Plain'?",
        "b.yaml:5:9: `sesions` is not understood here; did you mean `sessions`?",
        'b.yaml:5:35: the audience is told by its number, which is another elsewhere; write its name: member of "Loyal"',
        "c.yaml:3:13: The window of 400 days reaches past",
        "d.yaml:3:13: an audience cannot depend on itself, and here 'D' reads 'E', 'E' reads 'D'; remove one of these",
        "f.yaml:4:1: there is no field 'stat'; did you mean 'state'?",
        "x.yaml:2:7: g.yaml has the name 'Outer' as well",
        "h.yaml:3:10: 2 inputs are called 'Web'",
        "bomb.yaml:1:4: anchors and aliases",
    ):
        assert any(line.startswith(expected) for line in lines), f"{expected}\n{told.err}"
    before = states(live)
    assert live("apply", folder, "--yes").exit_code == 2
    assert states(live) == before


def test_names_that_stand_for_several_things_are_refused(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files", {name: FILES[name] for name in ("plain.yaml", "inner.yaml")})
    applied(live, folder)
    assert live("workspace", "create", "Shop", "--json").exit_code == 0
    told = live("diff", folder)
    assert told.exit_code == 2
    assert re.search(r"plain.yaml:2:14: 2 workspaces are called 'Shop' \(numbers \d+, \d+\)", told.err)
    exported = live("export", tmp_path / "out")
    assert exported.exit_code == 2
    assert "2 workspaces are called 'Shop'" in exported.err
    assert not (tmp_path / "out").exists()


def test_names_are_alike_in_upper_and_lower_case(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files", {"plain.yaml": FILES["plain.yaml"]})
    applied(live, folder)
    number = number_of(live, "Plain")
    (folder / "plain.yaml").write_text(FILES["plain.yaml"].replace("name: Plain", "name: PLAIN"))
    applied(live, folder)
    assert number_of(live, "PLAIN") == number
    fill(folder, {"z.yaml": FILES["plain.yaml"]})
    assert "z.yaml:1:7: plain.yaml has the name 'PLAIN' as well" in live("diff", folder).err


def test_connections_wait_until_their_audience_is_active(live: Run, tmp_path: Path) -> None:
    furnish(live)
    folder = fill(tmp_path / "files", {"a.yaml": f"{FILES['plain.yaml']}state: draft\nconnections: [{{configuration: Hook}}]\n"})
    applied(live, folder)
    assert "Plain is not active: its connection to Hook is made once it is." in live("diff", folder).err
    assert live("connection", "list", "--json").document["connections"] == []
    (folder / "a.yaml").write_text((folder / "a.yaml").read_text().replace("draft", "active"))
    applied(live, folder)
    assert len(live("connection", "list", "--json").document["connections"]) == 1


def test_a_schedule_that_is_over_leaves_no_difference(live: Run, tmp_path: Path) -> None:
    furnish(live)
    soon = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
    folder = fill(
        tmp_path / "files", {"a.yaml": f"{FILES['plain.yaml']}state: draft\nschedule: {{activate: '{soon}', deactivate: 2126-01-01}}\n"}
    )
    applied(live, folder)
    end = time.monotonic() + 20
    while live("audience", "show", number_of(live, "Plain"), "--json").document["state"] != "AUDIENCE_STATE_ACTIVE":
        assert time.monotonic() < end
        time.sleep(0.3)
    same = live("diff", folder)
    assert same.exit_code == 0, same.out


def test_some_are_exported_and_files_keep_their_places(live: Run, tmp_path: Path) -> None:
    furnish(live)
    applied(live, fill(tmp_path / "files"))
    folder = tmp_path / "out"
    assert live("export", folder, "--tag", "old", "--json").document["files"] == ["gone.yaml"]
    assert live("export", folder, number_of(live, "Plain"), "--json").document["files"] == ["plain.yaml"]
    assert live("export", folder, 999_999).exit_code == 1
    (folder / "deep").mkdir()
    (folder / "gone.yaml").rename(folder / "deep" / "kept.yaml")
    exported = live("export", folder, "--json").document
    assert "deep/kept.yaml" in exported["files"]
    assert "gone.yaml" not in exported["files"]
    assert live("diff", folder).exit_code == 0
    assert live("export", folder, "--json").document["changed"] == []
    # A file under the name that another audience's file would have is not written over.
    fill(folder, {"later.yaml": "name: Not there\nworkspaces: [Shop]\ndefinition: crash\n"})
    exported = live("export", folder, "--json").document
    assert exported["without_audience"] == ["later.yaml"]
    (other,) = exported["changed"]
    assert re.fullmatch(r"later-[0-9a-f]{8}\.yaml", other)
    assert "Not there" in (folder / "later.yaml").read_text()


def test_a_folder_without_files_is_no_account_without_audiences(live: Run, tmp_path: Path) -> None:
    furnish(live)
    (tmp_path / "empty").mkdir()
    assert live("apply", tmp_path / "empty", "--yes", "--prune").exit_code == 2
    assert live("diff", tmp_path / "none").exit_code == 2


def test_the_example_of_the_guide_is_applied(live: Run, tmp_path: Path) -> None:
    workspace = live("workspace", "create", "Shop", "--json").document["workspace_id"]
    for name in ("Web", "iOS"):
        assert live("input", "create", name, "--workspace", workspace, "--feed").exit_code == 0
    made = live(
        *("configuration", "create", "Our webhook", "--integration", "webhook"),
        *("--setting", "url=https://192.0.2.1/hook", "--setting", f"secret={'s' * 32}"),
    )
    assert made.exit_code == 0, made.err
    page = (ROOT / "docs" / "guides" / "audiences-as-code.md").read_text()
    files = dict(re.findall(r"^`audiences/([a-z]+\.yaml)`.*?^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert set(files) == {"buyers.yaml", "loyal.yaml"}
    folder = fill(tmp_path / "audiences", files)
    applied(live, folder)
    # The first file is as `muster export` writes it.
    assert contents(live, tmp_path / "out")["buyers.yaml"].decode() == files["buyers.yaml"]
    (folder / "loyal.yaml").write_text(files["loyal.yaml"].replace("inputs: [Web,", "inputs: [Wb,").replace('"Buyers"', '"Buyer"'))
    told = live("diff", folder).err
    faults = re.search(r"^muster: The files have faults\.\n.*?(?=^```$)", page, re.MULTILINE | re.DOTALL)
    assert faults
    for line in faults[0].splitlines():
        assert line in told
