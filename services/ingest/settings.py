"""The settings of ingest, the only reader of its environment."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import Port, ServiceSettings


class IngestSettings(ServiceSettings):
    """Read from MUSTER_INGEST_<SETTING> or MUSTER_<SETTING>."""

    service: ClassVar[str] = "ingest"

    grpc_port: Port = Field(default=7002, description="The port that gRPC listens on; 0 takes a free one.")
    http_host: str = Field(default="127.0.0.1", description="The address that the HTTP Events API listens on.")
    http_port: Port = Field(default=7080, description="The port that the HTTP Events API listens on; 0 takes a free one.")
    queue_events: int = Field(default=100_000, ge=1, description="How many events may wait; a request that finds more is answered 429.")
    queue_bytes: int = Field(
        default=32 * 1024 * 1024, ge=1, description="How many bytes of requests may wait; a request that finds more is answered 429."
    )
    round_events: int = Field(default=20_000, ge=1, description="How many events are committed in one transaction, if so many wait.")
    dedupe_hours: float = Field(
        default=24, ge=1, le=24 * 200, description="For how long an id that was sent is known: what comes again within it counts once."
    )
    publish_seconds: float = Field(
        default=10, gt=0, description="How long a request waits for JetStream's acknowledgement before it is answered 503."
    )
    erasing_services: tuple[str, ...] = Field(
        default=("evaluator", "forwarder"),
        description="The services whose receipts an erasure waits for: they have nothing any more.",
    )
    identity_cache: int = Field(default=200_000, ge=0, description="How many identities are kept in memory.")
