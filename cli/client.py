"""Calls to the services, for commands: blocking, with the token of an account, and with errors in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import grpc
from google.protobuf.message import Message
from muster.definition.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from muster.definition.v1.definition_service_pb2_grpc import AbTestServiceStub, AccountServiceStub, AudienceServiceStub
from muster.definition.v1.language_service_pb2_grpc import LanguageServiceStub
from muster.definition.v1.public_json_service_pb2_grpc import PublicJsonServiceStub
from muster.evaluator.v1.evaluator_service_pb2_grpc import EvaluatorServiceStub
from muster.forwarder.v1.forwarder_service_pb2_grpc import ConfigurationServiceStub, ConnectionServiceStub
from muster.ingest.v1.ingest_service_pb2_grpc import IdentityServiceStub, IngestServiceStub, PrivacyServiceStub
from muster.operations.v1.audit_service_pb2_grpc import AuditServiceStub
from muster.operations.v1.operations_service_pb2_grpc import OperationsServiceStub

from cli.faults import CliFault, from_rpc
from cli.settings import Settings
from services.chassis.auth import OPERATOR_ACCOUNT

_MESSAGE_MAX_BYTES = 16 * 1024 * 1024
_PAGE = 200

Answer = TypeVar("Answer", bound=Message)


class _Page(Protocol):
    """An answer that may have a next page."""

    @property
    def next_page_token(self) -> str: ...


Paged = TypeVar("Paged", bound=_Page)


class Muster:
    """The services of one installation, as an account sees them. `account_id` None: the account that the settings mean."""

    def __init__(self, settings: Settings, account_id: int | None = None) -> None:
        self.settings = settings
        self._account_id = account_id
        self._channels: dict[str, grpc.Channel] = {}

    @classmethod
    def as_operator(cls, settings: Settings) -> Self:
        """With the token of the operator of the installation."""
        return cls(settings, OPERATOR_ACCOUNT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    @property
    def accounts(self) -> AccountServiceStub:
        return AccountServiceStub(self._channel("definition"))

    @property
    def audiences(self) -> AudienceServiceStub:
        return AudienceServiceStub(self._channel("definition"))

    @property
    def ab_tests(self) -> AbTestServiceStub:
        return AbTestServiceStub(self._channel("definition"))

    @property
    def language(self) -> LanguageServiceStub:
        return LanguageServiceStub(self._channel("definition"))

    @property
    def public_json(self) -> PublicJsonServiceStub:
        return PublicJsonServiceStub(self._channel("definition"))

    @property
    def catalogue(self) -> CatalogueServiceStub:
        return CatalogueServiceStub(self._channel("definition"))

    @property
    def ingest(self) -> IngestServiceStub:
        return IngestServiceStub(self._channel("ingest"))

    @property
    def evaluator(self) -> EvaluatorServiceStub:
        return EvaluatorServiceStub(self._channel("evaluator"))

    @property
    def identities(self) -> IdentityServiceStub:
        return IdentityServiceStub(self._channel("ingest"))

    @property
    def privacy(self) -> PrivacyServiceStub:
        return PrivacyServiceStub(self._channel("ingest"))

    @property
    def configurations(self) -> ConfigurationServiceStub:
        return ConfigurationServiceStub(self._channel("forwarder"))

    @property
    def connections(self) -> ConnectionServiceStub:
        return ConnectionServiceStub(self._channel("forwarder"))

    def audit(self, service: str) -> AuditServiceStub:
        """The audit log of a service that keeps one."""
        return AuditServiceStub(self._channel(service))

    def operations(self, service: str) -> OperationsServiceStub:
        """What every service serves beside its own contract."""
        return OperationsServiceStub(self._channel(service))

    def call(self, method: Callable[..., Answer], request: Message, *, service: str, timeout_seconds: float | None = None) -> Answer:
        """One call. Raises CliFault."""
        try:
            return method(request, timeout=timeout_seconds or self.settings.timeout_seconds, metadata=self.metadata())
        except grpc.RpcError as error:
            raise self.fault(error, service) from None

    def stream(self, method: Callable[..., Iterable[Answer]], request: Message, *, service: str) -> Iterator[Answer]:
        """The answers of a streaming call, as they come. Raises CliFault."""
        try:
            yield from method(request, metadata=self.metadata())
        except grpc.RpcError as error:
            raise self.fault(error, service) from None

    def pages(self, method: Callable[..., Paged], request: Any, *, service: str) -> Iterator[Paged]:
        """All pages of a list, one after the other. Raises CliFault."""
        request.page_size = _PAGE
        while True:
            page: Any = self.call(method, request, service=service)  # type: ignore[type-var]  # a page is a message as well
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def fault(self, error: grpc.RpcError, service: str) -> CliFault:
        """What a failed call of a service says, in words for the person."""
        return from_rpc(error, service, self.settings.address(service))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with a call: a new token."""
        return (("authorization", f"Bearer {self.settings.token(self._account_id)}"),)

    def _channel(self, service: str) -> grpc.Channel:
        if service not in self._channels:
            self._channels[service] = grpc.insecure_channel(
                self.settings.address(service),
                options=[
                    ("grpc.max_receive_message_length", _MESSAGE_MAX_BYTES),
                    ("grpc.max_send_message_length", _MESSAGE_MAX_BYTES),
                ],
            )
        return self._channels[service]
