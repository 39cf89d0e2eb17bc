"""The settings of the forwarder."""

from __future__ import annotations

import socket
from typing import ClassVar

from pydantic import Field

from services.chassis.settings import Port, ServiceSettings
from services.forwarder.domain.retry import RetryPolicy


class ForwarderSettings(ServiceSettings):
    """What the environment says, read once."""

    service: ClassVar[str] = "forwarder"

    grpc_port: Port = Field(default=7004, description="The port that gRPC listens on; 0 takes a free one.")
    allow_private_targets: bool = Field(
        default=False, description="Whether partners may have loopback or private addresses and plain http, as on a developer's machine."
    )
    partner_timeout_seconds: float = Field(default=30, gt=0, description="The longest that a request to a partner may take.")
    retry_tries: int = Field(default=6, ge=1, description="How often a request is tried before its connection is faulted.")
    retry_first_seconds: float = Field(default=0.5, gt=0, description="The wait after the first failure, at most; the next ones double it.")
    retry_most_seconds: float = Field(
        default=20, gt=0, description="The longest wait of our own choice; a partner's Retry-After may be longer."
    )
    retry_total_seconds: float = Field(
        default=60, gt=0, description="No try begins later than this after the first one of a request; then its connection is faulted."
    )
    sweep_seconds: float = Field(
        default=2, gt=0, description="How often all connections are looked through for work that nothing announced."
    )
    lease_seconds: float = Field(default=90, gt=0, description="How long a connection stays with a process of which nothing is heard.")
    instance: str = Field(
        default="",
        description="The name of this process among several of one database; by default host and port, so that a restart is the same.",
    )
    parallel_snapshots: int = Field(default=4, ge=1, description="How many audiences' members are fetched from the evaluator at once.")
    keep_deliveries_days: float = Field(default=30, gt=0, description="How long finished deliveries are listed.")

    @property
    def retry_policy(self) -> RetryPolicy:
        """When a partner is asked again."""
        return RetryPolicy(self.retry_tries, self.retry_first_seconds, self.retry_most_seconds, self.retry_total_seconds)

    @property
    def owner(self) -> str:
        """The name under which this process holds its connections."""
        return self.instance or f"{socket.gethostname()}:{self.grpc_port}"
