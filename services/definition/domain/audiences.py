"""Audiences: drafts, edits, revisions, clones, and who uses whom (semantics: Words, Activation and editing, Nested audiences)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from muster.definition.v1 import definition_pb2 as pb

from services.chassis.errors import FailedPrecondition, NotFound

from .canonical import same
from .faults import Findings, Place, Reason, Verdict
from .lifecycle import Move, State, moved
from .node_ids import with_ids
from .schedules import NO_SCHEDULE, Schedule, without
from .texts import NAME_MAX, check_description, check_name, check_tags
from .validation import LANGUAGE_VERSION, Surroundings, judge


class AudienceNotFound(NotFound):
    """There is no such audience in the caller's account."""


class RevisionNotFound(NotFound):
    """The audience has no such revision."""


class AudienceArchived(FailedPrecondition):
    """The audience is archived: it can be read, cloned, deleted and taken back."""


class AudienceIsActive(FailedPrecondition):
    """Only an audience that is not active can be archived."""


_NOT_ARCHIVED = frozenset({Move.ACTIVATE, Move.EDIT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """An audience. `version` grows with each change of anything, `revision` with each change of meaning; `audience_id` is 0 until the
    database gave one; `delete_time_ms` is 0 unless it was deleted, `ab_test_id` unless it has a test,
    `archive_time_ms` unless it is archived."""

    audience_id: int = 0
    account_id: int
    version: int = 1
    name: str
    external_name: str = ""
    description: str = ""
    workspace_ids: tuple[int, ...]
    input_ids: tuple[int, ...] = ()
    definition: pb.Definition
    tags: tuple[str, ...] = ()
    state: State = State.DRAFT
    revision: int = 1
    create_time_ms: int
    update_time_ms: int
    created_by: str
    updated_by: str
    delete_time_ms: int = 0
    ab_test_id: int = 0
    archive_time_ms: int = 0
    schedule: Schedule = NO_SCHEDULE


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What an audience meant from one edit to the next; kept for good."""

    audience_id: int
    revision: int
    definition: pb.Definition
    workspace_ids: tuple[int, ...]
    input_ids: tuple[int, ...]
    author: str
    note: str
    create_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What shall be different; None leaves a thing as it is."""

    name: str | None = None
    external_name: str | None = None
    description: str | None = None
    workspace_ids: tuple[int, ...] | None = None
    input_ids: tuple[int, ...] | None = None
    definition: pb.Definition | None = None
    tags: tuple[str, ...] | None = None

    @property
    def touches_meaning(self) -> bool:
        """Whether who belongs to the audience may change."""
        return self.workspace_ids is not None or self.input_ids is not None or self.definition is not None


def draft(wanted: Edit, *, account_id: int, author: str, now_ms: int) -> Audience:
    """A new draft of what is wanted: to be judged, then `finished`. Numbers and tags that are said twice are kept once."""
    return Audience(
        account_id=account_id,
        name=wanted.name or "",
        external_name=wanted.external_name or "",
        description=wanted.description or "",
        workspace_ids=_once(wanted.workspace_ids or ()),
        input_ids=_once(wanted.input_ids or ()),
        definition=wanted.definition or pb.Definition(),
        tags=_once(wanted.tags or ()),
        create_time_ms=now_ms,
        update_time_ms=now_ms,
        created_by=author,
        updated_by=author,
    )


def with_edit(audience: Audience, edit: Edit) -> Audience:
    """The audience with what an edit asks for: to be judged, then given to `edited`. Raises AudienceDeleted and AudienceArchived."""
    check_move(audience, Move.EDIT)
    changes: dict[str, Any] = {}
    for name in ("name", "external_name", "description", "definition"):
        if (value := getattr(edit, name)) is not None:
            changes[name] = value
    for name in ("workspace_ids", "input_ids", "tags"):
        if (values := getattr(edit, name)) is not None:
            changes[name] = _once(values)
    return replace(audience, **changes)


def finished(audience: Audience, before: pb.Definition | None = None) -> Audience:
    """The judged audience with what is filled in on save: the version of the language and ids of nodes, those of `before` if they fit."""
    definition = with_ids(audience.definition, before)
    definition.language_version = definition.language_version or LANGUAGE_VERSION
    return replace(audience, definition=definition)


def edited(before: Audience, after: Audience, *, author: str, now_ms: int) -> Audience:
    """The judged audience as it is saved: `before` itself when nothing differs, with another revision when its meaning does."""
    after = finished(after, before.definition)
    if after == before:
        return before
    return replace(
        after,
        revision=before.revision if _means_the_same(before, after) else before.revision + 1,
        version=before.version + 1,
        update_time_ms=now_ms,
        updated_by=author,
    )


def transferred(audience: Audience, move: Move, *, author: str, now_ms: int) -> Audience:
    """The audience after a move to another state; the same object when it is there already."""
    state = check_move(audience, move)
    if state is audience.state:
        return audience
    return replace(
        audience,
        state=state,
        schedule=without(audience.schedule, move),
        version=audience.version + 1,
        update_time_ms=now_ms,
        updated_by=author,
        delete_time_ms=now_ms if state is State.DELETED else 0,
        ab_test_id=0 if state is State.DELETED else audience.ab_test_id,
    )


def check_move(audience: Audience, move: Move) -> State:
    """Where a move leads. Raises AudienceDeleted, AudienceNotActive and AudienceArchived where there is none."""
    state = moved(audience.state, move, audience_id=audience.audience_id)
    if audience.archive_time_ms and move in _NOT_ARCHIVED:
        message = f"The audience {audience.audience_id} is archived; take it back first."
        raise AudienceArchived(message, audience_id=audience.audience_id)
    return state


def archived(audience: Audience, *, author: str, now_ms: int) -> Audience:
    """The audience out of the way, without a schedule; the same object when it is already. Raises AudienceDeleted and AudienceIsActive."""
    moved(audience.state, Move.EDIT, audience_id=audience.audience_id)
    if audience.archive_time_ms:
        return audience
    if audience.state is State.ACTIVE:
        message = f"The audience {audience.audience_id} is active; deactivate it first."
        raise AudienceIsActive(message, audience_id=audience.audience_id)
    return _touched(audience, author=author, now_ms=now_ms, archive_time_ms=now_ms, schedule=NO_SCHEDULE)


def unarchived(audience: Audience, *, author: str, now_ms: int) -> Audience:
    """The audience among the others again; the same object when it is already. Raises AudienceDeleted."""
    moved(audience.state, Move.EDIT, audience_id=audience.audience_id)
    return _touched(audience, author=author, now_ms=now_ms, archive_time_ms=0) if audience.archive_time_ms else audience


def scheduled(audience: Audience, schedule: Schedule, *, author: str, now_ms: int) -> Audience:
    """The audience with another schedule, which was judged; the same object when it has it. Raises AudienceDeleted and AudienceArchived."""
    check_move(audience, Move.EDIT)
    if audience.schedule == schedule:
        return audience
    return _touched(audience, author=author, now_ms=now_ms, schedule=schedule)


def _touched(audience: Audience, *, author: str, now_ms: int, **changes: Any) -> Audience:
    return replace(audience, version=audience.version + 1, update_time_ms=now_ms, updated_by=author, **changes)


def cloned(audience: Audience, *, name: str, author: str, now_ms: int) -> Audience:
    """A draft of the same definition, workspaces, inputs, description and tags, which partners see under its own name."""
    moved(audience.state, Move.CLONE, audience_id=audience.audience_id)
    return Audience(
        account_id=audience.account_id,
        name=name,
        description=audience.description,
        workspace_ids=audience.workspace_ids,
        input_ids=audience.input_ids,
        definition=audience.definition,
        tags=audience.tags,
        create_time_ms=now_ms,
        update_time_ms=now_ms,
        created_by=author,
        updated_by=author,
    )


def name_of_copy(name: str, taken: Callable[[str], bool]) -> str:
    """`Copy of <name>`, with a number behind it where that is taken, cut where it grows too long."""
    wanted, number = f"Copy of {name}"[:NAME_MAX], 1
    while taken(wanted):
        number += 1
        end = f" {number}"
        wanted = f"{f'Copy of {name}'[: NAME_MAX - len(end)]}{end}"
    return wanted


def revision_of(audience: Audience, *, note: str) -> Revision:
    """The newest revision of an audience, as it is kept."""
    return Revision(
        audience_id=audience.audience_id,
        revision=audience.revision,
        definition=audience.definition,
        workspace_ids=audience.workspace_ids,
        input_ids=audience.input_ids,
        author=audience.updated_by,
        note=note,
        create_time_ms=audience.update_time_ms,
    )


def restoring(revision: Revision) -> Edit:
    """The edit that gives an audience back the meaning of an earlier revision."""
    return Edit(definition=revision.definition, workspace_ids=revision.workspace_ids, input_ids=revision.input_ids)


def judge_texts(audience: Audience) -> Verdict:
    """What is wrong with the names, the tags and the description."""
    findings = Findings()
    place = Place(findings)
    check_name(audience.name, place.at("name"))
    check_name(audience.external_name, place.at("external_name"), required=False)
    check_description(audience.description, place.at("description"))
    check_tags(audience.tags, place)
    return findings.verdict()


def judge_name(audience: Audience, others: Sequence[tuple[int, str]]) -> Verdict:
    """Whether the name is free; `others` are the ids and names of audiences that have it, but for upper and lower case."""
    findings = Findings()
    for number, name in others[:1]:
        mend = "Name this one otherwise, so that people can tell them apart."
        Place(findings).at("name").fault(Reason.DUPLICATE_NAME, f"The audience {number} has the name {name!r} already. {mend}")
    return findings.verdict()


def judge_audience(audience: Audience, surroundings: Surroundings, now: datetime) -> Verdict:
    """All that is wrong with an audience: its texts, its choices and its definition."""
    return judge_texts(audience) + judge(audience.definition, surroundings, now)


def _means_the_same(one: Audience, other: Audience) -> bool:
    return (
        set(one.workspace_ids) == set(other.workspace_ids)
        and set(one.input_ids) == set(other.input_ids)
        and same(one.definition, one.workspace_ids, other.definition, other.workspace_ids)
    )


def _once(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
