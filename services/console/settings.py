"""The settings of the console service."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import Port, ServiceSettings


class ConsoleSettings(ServiceSettings):
    """What an operator may set; see the chassis for what every service has."""

    service: ClassVar[str] = "console"

    grpc_port: Port = Field(default=7007, description="The port that gRPC listens on; 0 takes a free one.")
    http_host: str = Field(default="127.0.0.1", description="The address that HTTP listens on.")
    http_port: Port = Field(default=7087, description="The port that HTTP listens on; 0 takes a free one.")
    public_url: str | None = Field(
        default=None, description="Where people reach the console, if a proxy stands before it; by default its own address."
    )
    probe_seconds: float = Field(default=1, gt=0, description="How long the status page waits for a service's answer.")
