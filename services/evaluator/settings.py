"""The evaluator's settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import Port, ServiceSettings


class EvaluatorSettings(ServiceSettings):
    """Read from MUSTER_EVALUATOR_<SETTING> or MUSTER_<SETTING>."""

    service: ClassVar[str] = "evaluator"

    grpc_port: Port = Field(default=7003, description="The port that gRPC listens on; 0 takes a free one.")
    store_url: str | None = Field(
        default=None,
        description="The event store: chdb:///folder for the engine inside the process, "
        "clickhouse://user:password@host:8123/database for a server; "
        "by default the folder `events` in the data folder.",
    )
    round_seconds: float = Field(
        default=1.0, gt=0, le=60, description="The longest time between two rounds: how late a membership may change as time passes."
    )
    round_pause_seconds: float = Field(
        default=0.05, ge=0, le=10, description="The pause after a round: longer ones take more events a round, and later."
    )
    round_events_max: int = Field(default=50_000, ge=1, description="How many events one round takes at the most.")
    fold_after_changes: int = Field(
        default=5_000, ge=1, description="After how many stored rounds their changes are folded into the members."
    )

    @property
    def event_store_url(self) -> str:
        """The URL of the event store."""
        return self.store_url or f"chdb://{self.data_dir / 'events'}"
