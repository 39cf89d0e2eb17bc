"""The evaluator's settings."""

from __future__ import annotations

import re
import socket
from pathlib import Path
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
        "clickhouse://user:password@host:8123/database for a server, with ?cluster=name for a cluster; "
        "by default the folder `events` in the data folder.",
    )
    replica: str = Field(
        default="",
        pattern=r"^[-_a-zA-Z0-9]*$",
        max_length=100,
        description="The name of this process among the evaluators: no other has it, and the next process in its place has it again; "
        "by default the name of the machine and the port of gRPC.",
    )
    announce_address: str | None = Field(
        default=None,
        description="Where the other evaluators reach this one's gRPC, host:port; by default the address that it listens on, "
        "or the name of the machine where it listens on all.",
    )
    lease_seconds: float = Field(
        default=5.0, ge=0.5, le=300, description="How long a partition of a process that died stays without an owner at the most."
    )
    round_seconds: float = Field(
        default=1.0, gt=0, le=60, description="The longest time between two rounds: how late a membership may change as time passes."
    )
    round_pause_seconds: float = Field(
        default=0.05, ge=0, le=10, description="The pause after a round: longer ones take more events a round, and later."
    )
    round_events_max: int = Field(default=50_000, ge=1, description="How many events one round takes at the most.")
    fold_after_bytes: int = Field(
        default=64 * 2**20, ge=1, description="How long stored changes may become, in bytes, before they are folded into the members."
    )

    snapshot_folder: str | None = Field(
        default=None,
        description="The folder of the snapshots, by which a start is quick; by default the folder `snapshots` in the data folder. "
        "Empty: none are kept.",
    )
    snapshot_events: int = Field(
        default=500_000,
        ge=1,
        description="After how many new events a snapshot of an account is written anew: at least so many, and a tenth of all it has.",
    )

    @property
    def snapshots(self) -> Path | None:
        """Where snapshots are; None: nowhere."""
        if self.snapshot_folder is None:
            return self.data_dir / "snapshots"
        return Path(self.snapshot_folder) if self.snapshot_folder else None

    @property
    def replica_name(self) -> str:
        """The name of this process among the evaluators."""
        return self.replica or re.sub(r"[^-_a-zA-Z0-9]", "-", f"{socket.gethostname()}-{self.grpc_port}")

    def address_of(self, port: int) -> str:
        """Where the other evaluators reach this one, whose gRPC listens on this port."""
        host = socket.gethostname() if self.grpc_host in ("0.0.0.0", "::", "[::]") else self.grpc_host  # noqa: S104 - compared, not bound
        return self.announce_address or f"{host}:{port}"

    @property
    def event_store_url(self) -> str:
        """The URL of the event store."""
        return self.store_url or f"chdb://{self.data_dir / 'events'}"
