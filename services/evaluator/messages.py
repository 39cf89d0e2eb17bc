"""Facts in: definitions. Events and profiles come through rounds.py, which commits its own position in the stream."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from muster.definition.v1 import facts_pb2

from services.chassis.consumer import Hopeless, Message
from services.evaluator.engine.compile import Unsupported
from services.evaluator.rounds import Rounds
from services.evaluator.store import Store


class Definitions:
    """Keeps the newest state of everything defined, and tells the rounds."""

    def __init__(self, store: Store, rounds: Rounds) -> None:
        self._store = store
        self._rounds = rounds

    async def handle(self, messages: list[Message]) -> None:
        """Subject `muster.definitions.<account>.<kind>.<id>`; facts older than what is known are skipped."""
        news = []
        for message in messages:
            _, _, account_id, kind, id_ = message.subject.split(".", 4)
            try:
                fact = facts_pb2.DefinitionFact.FromString(message.data)
            except DecodeError as error:
                raise Hopeless(f"not a DefinitionFact: {error}") from error
            if fact.account_id != int(account_id):
                raise Hopeless(f"a fact of account {fact.account_id} under the subject of account {account_id}")
            try:
                self._rounds.check(fact)
            except (Unsupported, ValueError) as fault:
                raise Hopeless(str(fault)) from fault
            if await self._store.save_definition(fact.account_id, kind, int(id_), fact.version, message.data):
                news.append(fact)
        if news:
            await self._rounds.learn(news)
