from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from services.chassis.settings import Port, ServiceSettings, SettingsFault

SECRET = "0123456789abcdef0123456789abcdef"


class WeatherSettings(ServiceSettings):
    service: ClassVar[str] = "weather"
    grpc_port: Port = Field(default=7099, description="The port that gRPC listens on.")


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_TOKEN_SECRET", SECRET)


def test_a_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_PARTITIONS", "16")
    assert WeatherSettings.load().partitions == 16


def test_the_variable_of_the_service_wins_over_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_GRPC_PORT", "1")
    monkeypatch.setenv("MUSTER_WEATHER_GRPC_PORT", "2")
    monkeypatch.setenv("MUSTER_DATABASE_URL", "postgresql+asyncpg://general")
    monkeypatch.setenv("MUSTER_WEATHER_DATABASE_URL", "postgresql+asyncpg://own")
    settings = WeatherSettings.load()
    assert settings.grpc_port == 2
    assert settings.sql_url == "postgresql+asyncpg://own"


def test_the_database_is_a_file_of_the_services_name_by_default() -> None:
    assert WeatherSettings.load(data_dir=Path("there")).sql_url == "sqlite+aiosqlite:///there/weather.db"


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_DATABASE_URL", "postgresql+asyncpg://user:hush@host/database")
    text = repr(WeatherSettings.load())
    assert SECRET not in text
    assert "hush" not in text


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError):
        WeatherSettings.load().partitions = 9  # type: ignore[misc]


def test_every_fault_is_told_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_TOKEN_SECRET", "short")
    monkeypatch.setenv("MUSTER_PARTITIONS", "none")
    with pytest.raises(SettingsFault) as fault:
        WeatherSettings.load()
    assert "MUSTER_TOKEN_SECRET: " in str(fault.value)
    assert "MUSTER_PARTITIONS: " in str(fault.value)
    assert "short" not in str(fault.value)


def test_every_setting_has_a_sentence() -> None:
    assert [name for name, field in WeatherSettings.model_fields.items() if not (field.description or "").endswith(".")] == []
