"""Definitions in words, by gRPC: sentences for people, and texts that are read back. Nothing is saved."""

from __future__ import annotations

import asyncio

from muster.definition.v1 import definition_pb2
from muster.definition.v1 import language_service_pb2 as pb
from muster.definition.v1 import language_service_pb2_grpc as pb_grpc

from services.chassis.auth import account_of
from services.chassis.clock import Clock, to_ms

from ..domain.audiences import Edit, draft
from ..domain.completeness import incomplete
from ..domain.differences import Meaning, differences
from ..domain.faults import Verdict
from ..domain.language.printing import print_definition
from ..domain.language.reading import read
from ..domain.nesting import used_by
from ..domain.sentences.sentence import phrases_of, sentence_of
from ..domain.sentences.telling import Telling
from ..domain.validation import judge
from ..store import Store
from .requests import Context, author, refuse


class LanguageApi(pb_grpc.LanguageServiceServicer):
    """The LanguageService of the contract. Long texts are worked on in a thread, so that nobody else waits for them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def DescribeDefinition(self, request: pb.DescribeDefinitionRequest, context: Context) -> pb.DescribeDefinitionResponse:
        definition = request.definition
        refuse((await asyncio.to_thread(incomplete, definition)).faults)
        async with self._store.read(account_of(context)) as scope:
            account = await scope.account()
            names = await scope.audience_names(used_by(definition))
        telling = Telling(account.look_back_days, names, tuple(request.workspace_ids))
        phrases = await asyncio.to_thread(lambda: list(phrases_of(definition, telling)))
        return pb.DescribeDefinitionResponse(
            sentence=await asyncio.to_thread(sentence_of, definition, telling),
            phrases=[pb.NodePhrase(node_id=one.node_id, path=one.path, text=one.text, depth=one.depth) for one in phrases],
        )

    async def PrintDefinition(self, request: pb.PrintDefinitionRequest, context: Context) -> pb.PrintDefinitionResponse:
        refuse((await asyncio.to_thread(incomplete, request.definition)).faults)
        return pb.PrintDefinitionResponse(text=await asyncio.to_thread(print_definition, request.definition, multiline=request.multiline))

    async def CompareDefinitions(self, request: pb.CompareDefinitionsRequest, context: Context) -> pb.CompareDefinitionsResponse:
        async with self._store.read(account_of(context)) as scope:
            account = await scope.account()
            audience = await scope.audience(request.audience_id)

            async def saved(number: int) -> Meaning:
                if not number:
                    return Meaning(audience.definition, audience.workspace_ids, audience.input_ids)
                revision = await scope.revision(request.audience_id, number)
                return Meaning(revision.definition, revision.workspace_ids, revision.input_ids)

            before = await saved(request.from_revision)
            if request.HasField("definition"):
                refuse((await asyncio.to_thread(incomplete, request.definition)).faults)
                after = Meaning(
                    request.definition,
                    tuple(request.workspace_ids) or audience.workspace_ids,
                    tuple(request.input_ids) or audience.input_ids,
                )
            else:
                after = await saved(request.to_revision)
            names = await scope.audience_names(used_by(before.definition) | used_by(after.definition))
        telling = Telling(account.look_back_days, names, after.workspace_ids)
        found = await asyncio.to_thread(differences, before, after, telling)
        return pb.CompareDefinitionsResponse(
            same=not found,
            differences=[
                pb.Difference(
                    kind=pb.DifferenceKind.ValueType(one.kind.value),
                    node_id=one.node_id,
                    path=one.path,
                    before=one.before,
                    after=one.after,
                )
                for one in found
            ],
        )

    async def ParseDefinition(self, request: pb.ParseDefinitionRequest, context: Context) -> pb.ParseDefinitionResponse:
        account_id = account_of(context)
        reading = await asyncio.to_thread(read, request.text)
        if reading.definition is not None:
            verdict = await asyncio.to_thread(incomplete, reading.definition)
            if not verdict.faults and request.workspace_ids:
                verdict = await self._judged(account_id, request, reading.definition)
            reading = reading.judged(verdict)
        return pb.ParseDefinitionResponse(
            definition=reading.definition,
            faults=[
                pb.TextFault(
                    line=fault.line,
                    column=fault.column,
                    length=fault.length,
                    description=fault.description,
                    suggestion=fault.suggestion,
                )
                for fault in reading.faults
            ],
        )

    async def _judged(self, account_id: int, request: pb.ParseDefinitionRequest, definition: definition_pb2.Definition) -> Verdict:
        """The faults of the definition in the account, with the workspaces and inputs of the request."""
        now = self._clock.now()
        asked = Edit(workspace_ids=tuple(request.workspace_ids), input_ids=tuple(request.input_ids), definition=definition)
        async with self._store.read(account_id) as scope:
            audience = draft(asked, account_id=scope.account_id, author=author(), now_ms=to_ms(now))
            surroundings = await scope.surroundings(await scope.account(), audience)
        return await asyncio.to_thread(judge, definition, surroundings, now)
