"""The settings of the export service."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import Port, ServiceSettings


class ExportSettings(ServiceSettings):
    """What an operator may set; see the chassis for what every service has."""

    service: ClassVar[str] = "export"

    grpc_port: Port = Field(default=7006, description="The port that gRPC listens on; 0 takes a free one.")
