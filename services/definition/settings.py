"""The settings of the definition service."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import Port, ServiceSettings


class DefinitionSettings(ServiceSettings):
    """Its own are few; the rest is what every service has."""

    service: ClassVar[str] = "definition"

    grpc_port: Port = Field(default=7001, description="The port that gRPC listens on; 0 takes a free one.")
    catalogue_lease_seconds: float = Field(
        default=15, gt=0, description="So long after a replica that reads the catalogue's data died, another one reads on."
    )
