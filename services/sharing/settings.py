"""The settings of the sharing service."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import Port, ServiceSettings


class SharingSettings(ServiceSettings):
    """What an operator may set; see the chassis for what every service has."""

    service: ClassVar[str] = "sharing"

    grpc_port: Port = Field(default=7005, description="The port that gRPC listens on; 0 takes a free one.")
