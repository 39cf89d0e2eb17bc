"""Settings that every service has. A service subclasses `ServiceSettings` with its name, its port and what is its own.

A setting is read from `MUSTER_<SERVICE>_<SETTING>` and, failing that, from `MUSTER_<SETTING>`; nothing else reads the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "MUSTER_"
TOKEN_SECRET_MIN_BYTES = 32

Port = Annotated[int, Field(ge=0, le=65535)]


class SettingsFault(Exception):
    """The environment does not make valid settings; the text names every variable at fault."""


class ServiceSettings(BaseSettings):
    """The settings of one process, frozen once read. `service` is the name of the service in environment, logs and subjects."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    service: ClassVar[str] = "chassis"

    data_dir: Path = Field(default=Path("data"), description="The folder of everything that this process keeps on disk.")
    database_url: SecretStr | None = Field(
        default=None,
        description="The database: sqlite+aiosqlite:///file.db or postgresql+asyncpg://user:password@host/database; "
        "by default an SQLite file of the service's name in the data folder.",
    )
    nats_url: str = Field(default="nats://127.0.0.1:4222", description="The NATS server or, with commas between, the servers of a cluster.")
    grpc_host: str = Field(default="127.0.0.1", description="The address that gRPC listens on.")
    grpc_port: Port = Field(default=7000, description="The port that gRPC listens on; 0 takes a free one.")
    grpc_deadline_seconds: float = Field(
        default=60, gt=0, description="The longest that a unary call may take when its client sets no deadline."
    )
    grpc_stream_deadline_seconds: float = Field(
        default=3600, gt=0, description="The longest that a streaming call may take when its client sets no deadline."
    )
    token_secret: SecretStr = Field(description="The secret that signs access tokens: the same in every service, 32 bytes or longer.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The lowest level that is logged.")
    log_format: Literal["json", "console"] = Field(default="json", description="json: one object a line; console: for a person's eyes.")
    partitions: int = Field(
        default=8, ge=1, le=4096, description="How many partitions people are divided into: the same in all services, for good."
    )
    stream_replicas: int = Field(default=1, ge=1, le=5, description="How many NATS servers of the cluster hold each stream.")
    shutdown_grace_seconds: float = Field(default=10, ge=0, description="How long calls in progress may go on after the signal to stop.")
    definition_address: str = Field(default="127.0.0.1:7001", description="Where the definition service answers gRPC.")
    ingest_address: str = Field(default="127.0.0.1:7002", description="Where the ingest service answers gRPC.")
    evaluator_address: str = Field(default="127.0.0.1:7003", description="Where the evaluator service answers gRPC.")
    forwarder_address: str = Field(default="127.0.0.1:7004", description="Where the forwarder service answers gRPC.")
    sharing_address: str = Field(default="127.0.0.1:7005", description="Where the sharing service answers gRPC.")
    export_address: str = Field(default="127.0.0.1:7006", description="Where the export service answers gRPC.")

    @field_validator("token_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value().encode()) < TOKEN_SECRET_MIN_BYTES:
            raise ValueError(f"must be {TOKEN_SECRET_MIN_BYTES} bytes or longer")
        return secret

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        own = EnvSettingsSource(settings_cls, env_prefix=f"{PREFIX}{cls.service.upper()}_")
        return init_settings, own, env_settings

    @classmethod
    def load(cls, **values: object) -> Self:
        """The settings of the environment; `values` win over it. Raises SettingsFault with a sentence for each variable at fault."""
        try:
            return cls.model_validate(values)
        except ValidationError as fault:
            lines = [f"{PREFIX}{str(error['loc'][0]).upper() if error['loc'] else ''}: {error['msg']}" for error in fault.errors()]
            raise SettingsFault("\n".join(lines)) from None

    @property
    def sql_url(self) -> str:
        """The URL of this service's database: the one that is set or else an SQLite file in the data folder."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.data_dir / self.service}.db"
