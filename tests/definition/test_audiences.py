"""Audiences by gRPC: drafts, edits, activation, revisions, clones, deletion."""

from __future__ import annotations

import asyncio
import gc
import time

import grpc
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_pb2 as d
from muster.definition.v1 import definition_service_pb2 as pb
from muster.ingest.v1 import event_type_pb2

from services.chassis.errors import RpcFailure
from services.definition.domain.nesting import nodes_of
from tests.definition.builders import all_of, any_of, attribute, definition, equals, event, everyone, exclude, last, member_of, seed
from tests.definition.conftest import Home, Service, refused


def places(failure: RpcFailure) -> list[tuple[str, str]]:
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    return [(violation.field, violation.reason) for violation in failure.violations]


async def revisions(home: Home, audience: audience_pb2.Audience) -> list[audience_pb2.AudienceRevision]:
    listed = await home.audiences.ListAudienceRevisions(pb.ListAudienceRevisionsRequest(audience_id=audience.audience_id))
    return list(listed.revisions)


async def get(home: Home, audience_id: int) -> audience_pb2.Audience:
    audience: audience_pb2.Audience = await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=audience_id))
    return audience


async def test_a_saved_audience_is_a_draft_with_what_was_asked_for(service: Service, home: Home) -> None:
    audience = await home.audience(
        "New here",
        external_name="partners see this",
        description="two\nlines",
        input_ids=[home.ios.input.input_id],
        tags=["launch", "launch", "ios"],
        state=audience_pb2.AUDIENCE_STATE_ACTIVE,
        audience_id=77,
        revision=9,
    )
    assert audience.audience_id not in (0, 77)
    assert (audience.name, audience.external_name, audience.description) == ("New here", "partners see this", "two\nlines")
    assert list(audience.tags) == ["launch", "ios"]
    assert list(audience.input_ids) == [home.ios.input.input_id]
    assert (audience.state, audience.revision) == (audience_pb2.AUDIENCE_STATE_DRAFT, 1)
    assert (audience.created_by, audience.updated_by) == ("ann", "ann")
    assert audience.create_time_ms == audience.update_time_ms == service.clock.now_ms()
    assert audience.definition.language_version == 1
    assert len({node.id for node in nodes_of(audience.definition)} - {""}) == 3
    assert await get(home, audience.audience_id) == audience


async def test_every_fault_of_an_audience_is_told_with_its_place(home: Home) -> None:
    failure = await refused(
        home.audience(
            "x" * 101,
            external_name="\0",
            description="\0",
            tags=["launch", "t" * 19],
            workspace_ids=[home.workspace.workspace_id, 999],
            input_ids=[998],
            definition=definition(all_of(any_of(), event(when=last(31), node_id="n2"), member_of(997))),
        )
    )
    assert places(failure) == [
        ("name", "NAME_TOO_LONG"),
        ("external_name", "CONTROL_CHARACTER"),
        ("description", "CONTROL_CHARACTER"),
        ("tags[1]", "TAG_TOO_LONG"),
        ("workspace_ids[1]", "UNKNOWN_WORKSPACE"),
        ("input_ids[0]", "UNKNOWN_INPUT"),
        ("definition.root.all.nodes[0].any", "EMPTY_GROUP"),
        ("definition.root.all.nodes[1].criterion.event.when.last", "WINDOW_PAST_LOOK_BACK"),
        ("definition.root.all.nodes[2].criterion.member_of.audience_id", "UNKNOWN_AUDIENCE"),
    ]
    assert failure.reason == "INVALID_AUDIENCE"
    assert failure.metadata == {"faults": "9", "told": "9"}
    assert failure.message.startswith("name: The name has 101 characters")
    assert (await home.audiences.ListAudiences(pb.ListAudiencesRequest())).total_size == 0


async def test_more_faults_than_a_status_can_carry_are_counted(home: Home) -> None:
    groups = definition(all_of(*(any_of(node_id="ü" * 30 + str(number)) for number in range(400))))
    failure = await refused(home.audience("名" * 101, definition=groups))
    assert failure.reason == "INVALID_AUDIENCE"
    assert failure.metadata["faults"] == "401"
    assert 5 < len(failure.violations) < 401
    told = await home.audiences.ValidateDefinition(
        pb.ValidateDefinitionRequest(definition=groups, workspace_ids=[home.workspace.workspace_id])
    )
    assert len(told.faults) == 400


async def test_a_definition_is_validated_without_being_saved(home: Home) -> None:
    inner = await home.audience("inner")
    request = pb.ValidateDefinitionRequest(
        definition=definition(all_of(event(when=last(31), node_id="n1"), member_of(inner.audience_id, node_id="n2"))),
        workspace_ids=[home.workspace.workspace_id],
    )
    answer = await home.audiences.ValidateDefinition(request)
    (fault,), (warning,) = answer.faults, answer.warnings
    assert (fault.field, fault.node_id) == ("definition.root.all.nodes[0].criterion.event.when.last", "n1")
    assert fault.reason == "WINDOW_PAST_LOOK_BACK"
    assert fault.description.startswith("The window of 31 days reaches past")
    assert (warning.node_id, warning.reason) == ("n2", "AUDIENCE_NOT_ACTIVE")

    request.audience_id = inner.audience_id
    answer = await home.audiences.ValidateDefinition(request)
    assert [fault.reason for fault in answer.faults] == ["WINDOW_PAST_LOOK_BACK", "CYCLE"]


async def test_an_edit_changes_what_its_mask_names(service: Service, home: Home) -> None:
    audience = await home.audience(tags=["a"], description="kept")
    await service.clock.advance(60)
    edited = await home.update(audience, "name", "tags", name="Renamed", tags=["b"], description="not in the mask")
    assert (edited.name, list(edited.tags), edited.description) == ("Renamed", ["b"], "kept")
    assert edited.update_time_ms == audience.update_time_ms + 60_000
    assert edited.etag != audience.etag
    assert edited.revision == 1

    assert places(await refused(home.update(edited, "name", "state", "definition.root", "colour"))) == [
        ("update_mask.paths[1]", "UNKNOWN_FIELD"),
        ("update_mask.paths[2]", "UNKNOWN_FIELD"),
        ("update_mask.paths[3]", "UNKNOWN_FIELD"),
    ]
    assert places(await refused(home.update(edited, "name", etag="", name="x"))) == [("audience.etag", "MISSING")]
    assert places(await refused(home.update(edited, "name", name="x", note="\0"))) == [("note", "CONTROL_CHARACTER")]
    assert places(await refused(home.update(edited, "name"))) == [("name", "NAME_EMPTY")]
    cleared = await home.update(edited, "tags", "description")
    assert (list(cleared.tags), cleared.description) == ([], "")
    everything = await home.update(cleared, "*", name="All", workspace_ids=audience.workspace_ids, definition=seed(), tags=["c"])
    assert (everything.name, list(everything.tags)) == ("All", ["c"])


async def test_an_edit_of_what_was_changed_meanwhile_is_refused(home: Home) -> None:
    audience = await home.audience()
    newer = await home.update(audience, name="first")
    for call in (
        home.update(audience, name="second"),
        home.activate(audience),
        home.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=audience.audience_id, etag=audience.etag)),
        home.audiences.RestoreAudienceRevision(
            pb.RestoreAudienceRevisionRequest(audience_id=audience.audience_id, revision=1, etag=audience.etag)
        ),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
        assert failure.metadata["etag"] == newer.etag
    assert (await get(home, audience.audience_id)).name == "first"


async def test_of_edits_at_once_one_wins(home: Home) -> None:
    audience = await home.audience()

    calls = [home.update(audience, name=f"by {number}") for number in range(10)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    codes = [answer.code() if isinstance(answer, grpc.aio.AioRpcError) else grpc.StatusCode.OK for answer in answers]
    assert sorted(code.name for code in codes) == ["ABORTED"] * 9 + ["OK"]


async def test_cycles_cannot_be_made_by_two_edits_at_once(home: Home) -> None:
    for number in range(5):
        one, two = await home.audience(f"one {number}"), await home.audience(f"two {number}")
        calls = (
            home.update(one, definition=definition(member_of(two.audience_id))),
            home.update(two, definition=definition(member_of(one.audience_id))),
        )
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(answer, audience_pb2.Audience) for answer in answers].count(True) == 1


async def test_every_change_of_meaning_is_a_revision_that_is_kept(service: Service, home: Home) -> None:
    audience = await home.activate(await home.audience())
    await service.clock.advance(60)
    bob = service.client(home.account.account_id, subject="bob")
    wanted = audience_pb2.Audience(audience_id=audience.audience_id, etag=audience.etag, definition=definition(everyone()))
    second = await bob.audiences.UpdateAudience(pb.UpdateAudienceRequest(audience=wanted, note="wider"))
    assert (second.revision, second.state, second.updated_by) == (2, audience_pb2.AUDIENCE_STATE_ACTIVE, "bob")
    third = await home.update(second, input_ids=[home.ios.input.input_id])
    assert third.revision == 3

    kept = await revisions(home, audience)
    assert [(one.revision, one.author, one.note) for one in kept] == [(3, "ann", ""), (2, "bob", "wider"), (1, "ann", "")]
    assert kept[2].definition == audience.definition
    assert kept[1].create_time_ms == kept[2].create_time_ms + 60_000
    assert (list(kept[1].input_ids), list(kept[0].input_ids)) == ([], [home.ios.input.input_id])

    restored = await home.audiences.RestoreAudienceRevision(
        pb.RestoreAudienceRevisionRequest(audience_id=audience.audience_id, revision=1, etag=third.etag)
    )
    assert (restored.revision, restored.definition, list(restored.input_ids)) == (4, audience.definition, [])
    assert (await revisions(home, audience))[0].note == "Restored from revision 1."
    again = await home.audiences.RestoreAudienceRevision(pb.RestoreAudienceRevisionRequest(audience_id=audience.audience_id, revision=4))
    assert again == restored

    for number in (5, 2**64 - 1):
        failure = await refused(
            home.audiences.RestoreAudienceRevision(pb.RestoreAudienceRevisionRequest(audience_id=audience.audience_id, revision=number))
        )
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "REVISION_NOT_FOUND")
    page = await home.audiences.ListAudienceRevisions(pb.ListAudienceRevisionsRequest(audience_id=audience.audience_id, page_size=3))
    rest = await home.audiences.ListAudienceRevisions(
        pb.ListAudienceRevisionsRequest(audience_id=audience.audience_id, page_size=3, page_token=page.next_page_token)
    )
    assert [one.revision for one in (*page.revisions, *rest.revisions)] == [4, 3, 2, 1]


async def test_saying_the_same_otherwise_is_no_revision(home: Home) -> None:
    audience = await home.audience()
    install, sessions = audience.definition.root.all.nodes
    swapped = d.Definition(root=d.Node(all=d.Group(nodes=[sessions, install])))
    swapped.root.all.nodes[1].criterion.event.when.last.CopyFrom(d.Duration(count=3, unit=d.DURATION_UNIT_DAY))
    for node in nodes_of(swapped):
        node.id = ""
    edited = await home.update(audience, definition=swapped)
    assert edited.revision == 1
    assert [node.id for node in edited.definition.root.all.nodes] == [sessions.id, install.id]
    assert edited.definition.root.id == audience.definition.root.id
    assert edited.definition.root.all.nodes[1].criterion.event.when.last.unit == d.DURATION_UNIT_DAY
    assert await home.update(edited, definition=seed(), name=edited.name) != audience
    assert len(await revisions(home, audience)) == 1


async def test_nothing_changed_is_no_change(home: Home) -> None:
    audience = await home.audience()
    assert await home.update(audience, "name", "definition", name=audience.name, definition=seed()) == audience


async def test_an_audience_is_activated_and_deactivated(home: Home) -> None:
    draft = await home.audience()
    request = pb.DeactivateAudienceRequest(audience_id=draft.audience_id)
    failure = await refused(home.audiences.DeactivateAudience(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AUDIENCE_NOT_ACTIVE")
    active = await home.activate(draft)
    assert active.state == audience_pb2.AUDIENCE_STATE_ACTIVE
    assert await home.activate(active) == active
    inactive = await home.audiences.DeactivateAudience(request)
    assert inactive.state == audience_pb2.AUDIENCE_STATE_INACTIVE
    assert await home.audiences.DeactivateAudience(request) == inactive
    assert (await home.activate(inactive)).state == audience_pb2.AUDIENCE_STATE_ACTIVE


async def test_a_draft_that_became_wrong_is_not_activated_but_can_be_renamed(home: Home) -> None:
    audience = await home.audience(definition=definition(event(when=last(30), node_id="n1")))
    account = home.account
    account.look_back_days = 7
    await home.accounts.UpdateAccount(pb.UpdateAccountRequest(account=account))
    failure = await refused(home.activate(audience))
    assert places(failure) == [("definition.root.criterion.event.when.last", "WINDOW_PAST_LOOK_BACK")]
    assert (await home.update(audience, name="Renamed")).name == "Renamed"


async def test_what_is_not_evaluated_yet_is_refused_in_words(home: Home) -> None:
    moving = d.ValueTest(date=d.DateTest(when=last(7)))
    step = d.SequenceStep(
        match=d.EventMatch(type=event_type_pb2.EVENT_TYPE_CUSTOM, name="buy", where=[d.Filter(attribute="at", test=moving)])
    )
    sequence = d.SequenceCriterion(steps=[step])
    failure = await refused(home.audience(definition=definition(d.Node(criterion=d.Criterion(sequence=sequence)))))
    assert [reason for _, reason in places(failure)] == ["NOT_EVALUATED_YET"]
    assert "are not evaluated in the filters of sequences" in failure.message


async def test_an_audience_in_use_is_not_deleted_and_its_users_are_named(home: Home) -> None:
    inner = await home.audience("inner")
    first = await home.audience("first", definition=definition(all_of(everyone(), exclude(member_of(inner.audience_id)))))
    second = await home.audience("zweite", definition=definition(member_of(inner.audience_id)))
    request = pb.DeleteAudienceRequest(audience_id=inner.audience_id)
    failure = await refused(home.audiences.DeleteAudience(request))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AUDIENCE_IN_USE")
    assert failure.message == (
        f"The audience {inner.audience_id} is used by the audiences {first.audience_id} (first), {second.audience_id} (zweite); "
        "end these first, or let them end with it."
    )
    assert failure.metadata == {
        "audience_id": str(inner.audience_id),
        "users": "2",
        "user_ids": f"{first.audience_id}, {second.audience_id}",
        "user_names": "first, zweite",
        "ab_test_ids": "",
        "connection_ids": "",
        "share_ids": "",
    }
    await home.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=first.audience_id))
    await home.update(second, definition=definition(everyone()))
    deleted = await home.audiences.DeleteAudience(request)
    assert deleted.state == audience_pb2.AUDIENCE_STATE_DELETED
    assert await get(home, inner.audience_id) == deleted


async def test_many_users_with_long_names_still_fit_in_the_error(home: Home) -> None:
    inner = await home.audience("inner")
    for number in range(12):
        await home.audience("名" * 98 + f"{number:02}", definition=definition(member_of(inner.audience_id)))
    failure = await refused(home.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=inner.audience_id)))
    assert (failure.reason, failure.metadata["users"]) == ("AUDIENCE_IN_USE", "12")
    assert failure.metadata["user_ids"].count(",") == 11
    assert "more" in failure.message


async def test_a_name_is_taken_until_its_audience_is_deleted(home: Home) -> None:
    first = await home.audience("Straße")
    second = await home.audience("Other")
    for call in (
        home.audience("STRASSE"),
        home.update(second, name="straße"),
        home.audiences.CloneAudience(pb.CloneAudienceRequest(audience_id=second.audience_id, name="Straße")),
    ):
        failure = await refused(call)
        assert places(failure) == [("name", "DUPLICATE_NAME")]
        assert f"audience {first.audience_id} " in failure.violations[0].description
    same = await home.update(first, name="STRASSE")
    assert same.name == "STRASSE", "its own name is free for it"
    await home.audiences.ArchiveAudience(pb.ArchiveAudienceRequest(audience_id=first.audience_id))
    assert places(await refused(home.audience("Straße"))) == [("name", "DUPLICATE_NAME")]
    await home.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=first.audience_id))
    assert (await home.audience("Straße")).name == "Straße"
    assert places(await refused(home.audience("Straße", definition=d.Definition()))) == [
        ("name", "DUPLICATE_NAME"),
        ("definition.root", "MISSING"),
    ]


async def test_clones_without_a_name_are_numbered(home: Home) -> None:
    original = await home.audience("x" * 99)
    named = [(await home.audiences.CloneAudience(pb.CloneAudienceRequest(audience_id=original.audience_id))).name for _ in range(3)]
    assert named == [f"Copy of {'x' * 92}", f"Copy of {'x' * 90} 2", f"Copy of {'x' * 90} 3"]


async def test_of_two_who_take_one_name_at_once_one_gets_it(home: Home) -> None:
    answers = await asyncio.gather(*(home.audience("wanted") for _ in range(4)), return_exceptions=True)
    assert [isinstance(answer, audience_pb2.Audience) for answer in answers].count(True) == 1


async def test_a_deleted_audience_is_kept_and_is_final(service: Service, home: Home) -> None:
    audience = await home.activate(await home.audience())
    await service.clock.advance(60)
    deleted = await home.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=audience.audience_id, etag=audience.etag))
    assert deleted.delete_time_ms == audience.update_time_ms + 60_000
    assert await home.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=audience.audience_id)) == deleted
    for call in (
        home.update(deleted, name="x"),
        home.activate(deleted),
        home.audiences.DeactivateAudience(pb.DeactivateAudienceRequest(audience_id=deleted.audience_id)),
        home.audiences.CloneAudience(pb.CloneAudienceRequest(audience_id=deleted.audience_id)),
        home.audiences.RestoreAudienceRevision(pb.RestoreAudienceRevisionRequest(audience_id=deleted.audience_id, revision=1)),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "AUDIENCE_DELETED")
    assert len(await revisions(home, deleted)) == 1
    failure = await refused(home.audience(definition=definition(member_of(deleted.audience_id))))
    assert places(failure) == [("definition.root.criterion.member_of.audience_id", "UNKNOWN_AUDIENCE")]


async def test_a_clone_is_a_draft_of_the_same_definition_and_tags(home: Home) -> None:
    audience = await home.activate(await home.audience("n" * 100, external_name="ext", tags=["a"]))
    clone = await home.audiences.CloneAudience(pb.CloneAudienceRequest(audience_id=audience.audience_id))
    assert clone.audience_id != audience.audience_id
    assert clone.name == f"Copy of {'n' * 92}"
    assert (clone.external_name, list(clone.tags), clone.state) == ("", ["a"], audience_pb2.AUDIENCE_STATE_DRAFT)
    assert (clone.definition, clone.revision) == (audience.definition, 1)
    assert (await revisions(home, clone))[0].note == f"Cloned from the audience {audience.audience_id}."
    request = pb.CloneAudienceRequest(audience_id=audience.audience_id, name="Mine", idempotency_key="k")
    named = await home.audiences.CloneAudience(request)
    assert named.name == "Mine"
    assert await home.audiences.CloneAudience(request) == named
    too_long = pb.CloneAudienceRequest(audience_id=audience.audience_id, name="x" * 101)
    assert places(await refused(home.audiences.CloneAudience(too_long))) == [("name", "NAME_TOO_LONG")]


async def test_a_create_repeated_with_its_key_makes_one_audience(home: Home) -> None:
    first = await home.audience("once", key="k")
    assert await home.audience("once", key="k") == first
    failure = await refused(home.audience("other", key="k"))
    assert failure.reason == "IDEMPOTENCY_KEY_REUSED"
    made = await asyncio.gather(*(home.audience("race", key="r") for _ in range(6)))
    assert len({audience.audience_id for audience in made}) == 1


async def test_the_audiences_of_another_account_do_not_exist(service: Service, home: Home) -> None:
    audience = await home.audience()
    stranger = await service.home(name="Stranger")
    number = audience.audience_id
    for call in (
        stranger.audiences.GetAudience(pb.GetAudienceRequest(audience_id=number)),
        stranger.update(audience, name="mine"),
        stranger.activate(audience),
        stranger.audiences.DeactivateAudience(pb.DeactivateAudienceRequest(audience_id=number)),
        stranger.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=number)),
        stranger.audiences.CloneAudience(pb.CloneAudienceRequest(audience_id=number)),
        stranger.audiences.ListAudienceRevisions(pb.ListAudienceRevisionsRequest(audience_id=number)),
        stranger.audiences.RestoreAudienceRevision(pb.RestoreAudienceRevisionRequest(audience_id=number, revision=1)),
        stranger.audiences.ValidateDefinition(pb.ValidateDefinitionRequest(definition=seed(), audience_id=number)),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "AUDIENCE_NOT_FOUND")
    assert (await stranger.audiences.ListAudiences(pb.ListAudiencesRequest())).total_size == 0
    failure = await refused(stranger.audience(workspace_ids=audience.workspace_ids, definition=definition(member_of(number))))
    assert [reason for _, reason in places(failure)] == ["UNKNOWN_WORKSPACE", "UNKNOWN_AUDIENCE"]


async def test_a_multi_workspace_audience_reads_each_person_s_data_in_a_named_workspace(home: Home) -> None:
    games = await home.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name="Games"))
    both = [home.workspace.workspace_id, games.workspace_id]
    failure = await refused(home.audience(workspace_ids=both, definition=definition(attribute("plan", equals("gold")))))
    assert places(failure) == [("definition.root.criterion.workspace_id", "WORKSPACE_NEEDED")]
    named = definition(attribute("plan", equals("gold"), workspace=games.workspace_id))
    assert list((await home.audience(workspace_ids=both, definition=named)).workspace_ids) == both


async def test_callers_who_hang_up_leave_no_lock_behind(home: Home) -> None:
    gc.disable()  # what only the collector would free stays
    try:
        for number in range(40):
            call = asyncio.ensure_future(home.audience(f"Cut {number}"))
            await asyncio.sleep(0.001 * (number % 20))
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            async with asyncio.timeout(5):
                await home.audience(f"Kept {number}")
    finally:
        gc.enable()


async def test_a_definition_of_millions_of_nodes_is_refused_at_once(home: Home) -> None:
    request = pb.ValidateDefinitionRequest(workspace_ids=[home.workspace.workspace_id])
    request.definition.root.all.nodes.extend([everyone()] * 1_000_000)
    begin = time.process_time()
    said = await home.audiences.ValidateDefinition(request)
    assert [(fault.field, fault.reason) for fault in said.faults] == [("definition", "TOO_LARGE")]
    # Nobody else is served meanwhile.
    assert time.process_time() - begin < 2
