"""Where the services are and who asks: from the environment (`MUSTER_*`) and, failing that, from what `muster dev` wrote."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli import devfile
from cli.faults import bad_input
from cli.ports import SERVICES, usual_ports
from services.chassis import auth

ROOT = Path(__file__).resolve().parent.parent
SUBJECT = "cli"
_TOKEN_TTL = timedelta(hours=1)


class Environment(BaseSettings):
    """The environment variables that the command line reads."""

    model_config = SettingsConfigDict(env_prefix="MUSTER_", frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Field(default=ROOT / "data", description="The folder in which `muster dev` keeps everything, and dev.json.")
    token: SecretStr | None = Field(default=None, description="The access token to send; it says for which account.")
    token_secret: SecretStr | None = Field(default=None, description="The secret that signs tokens, where there is no token.")
    account: int | None = Field(default=None, ge=1, description="The account that commands mean, where there is no token.")
    timeout_seconds: float = Field(default=30, gt=0, description="How long a call may take.")
    definition_address: str | None = Field(default=None, description="Where definition answers gRPC.")
    ingest_address: str | None = Field(default=None, description="Where ingest answers gRPC.")
    evaluator_address: str | None = Field(default=None, description="Where evaluator answers gRPC.")
    forwarder_address: str | None = Field(default=None, description="Where forwarder answers gRPC.")
    sharing_address: str | None = Field(default=None, description="Where sharing answers gRPC.")
    export_address: str | None = Field(default=None, description="Where export answers gRPC.")
    console_address: str | None = Field(default=None, description="Where console answers gRPC.")

    @classmethod
    def load(cls) -> Environment:
        """The environment as it is. Raises a fault that names every variable at fault."""
        try:
            return cls()
        except ValidationError as fault:
            lines = [f"MUSTER_{str(error['loc'][0]).upper()}: {error['msg']}" for error in fault.errors()]
            raise bad_input("\n".join(lines)) from None


class Settings:
    """The environment over dev.json over the documented addresses."""

    def __init__(self, environment: Environment, dev: devfile.DevFile | None) -> None:
        self._environment = environment
        self._dev = dev

    @classmethod
    def load(cls) -> Settings:
        """What holds here and now."""
        environment = Environment.load()
        try:
            return cls(environment, devfile.read(environment.data_dir))
        except devfile.DevFileFault as fault:
            raise bad_input(str(fault), hint="`muster dev` writes it anew.") from None

    @property
    def data_dir(self) -> Path:
        return self._environment.data_dir

    @property
    def dev(self) -> devfile.DevFile | None:
        """What `muster dev` wrote; None where it never ran in this data folder."""
        return self._dev

    @property
    def timeout_seconds(self) -> float:
        return self._environment.timeout_seconds

    def address(self, service: str) -> str:
        """Where a service answers gRPC: `127.0.0.1:7001`."""
        given: str | None = getattr(self._environment, f"{service}_address")
        if given:
            return given
        if self._dev is not None and service in self._dev.grpc:
            return self._dev.grpc[service]
        return usual_ports().grpc_address(service)

    def addresses(self) -> dict[str, str]:
        """All services."""
        return {service: self.address(service) for service in SERVICES}

    def account_id(self, chosen: int | None) -> int:
        """The account that a command means: the one it names, or MUSTER_ACCOUNT, or the one of dev.json."""
        account_id = chosen or self._environment.account or (self._dev.account_id if self._dev else None)
        if account_id is None:
            raise bad_input(
                "Which account? This command works inside one.",
                hint="Name it with --account or MUSTER_ACCOUNT; `muster account create NAME` makes one.",
            )
        return account_id

    def token(self, account_id: int | None) -> str:
        """The token to send for an account; 0 is the operator of the installation, None whichever `account_id` finds."""
        given = self._environment.token
        if given is not None:
            return given.get_secret_value()
        wanted = self.account_id(None) if account_id is None else account_id
        return self.mint(wanted, subject=SUBJECT, roles=[auth.OPERATOR], ttl=_TOKEN_TTL)

    def mint(self, account_id: int, *, subject: str, roles: list[str], ttl: timedelta) -> str:
        """A new token, signed by the secret of the environment or of dev.json."""
        secret = self._environment.token_secret
        signed_by = secret.get_secret_value() if secret is not None else self._dev.token_secret if self._dev is not None else ""
        if not signed_by:
            raise bad_input(
                "There is no access token.",
                hint=f"Set MUSTER_TOKEN (or MUSTER_TOKEN_SECRET), or run `muster dev` with the data folder {self.data_dir}.",
            )
        return auth.mint(signed_by, account_id=account_id, subject=subject, roles=roles, ttl=ttl, now=datetime.now(UTC))

    def remember_account(self, account_id: int, *, ttl: timedelta) -> None:
        """Keep a token of the account in dev.json; the first account is the one that commands mean from now on."""
        if self._dev is not None:
            token = self.mint(account_id, subject=SUBJECT, roles=[auth.OPERATOR], ttl=ttl)
            self._dev = self._dev.with_account(account_id, token)
            devfile.write(self.data_dir, self._dev)
