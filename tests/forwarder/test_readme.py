"""The page says what the code has."""

from __future__ import annotations

from pathlib import Path

from services.chassis.settings import ServiceSettings
from services.forwarder import app
from services.forwarder.settings import ForwarderSettings

README = (Path(app.__file__).parent / "README.md").read_text()


def test_every_setting_is_on_the_page_with_its_default() -> None:
    for name in ForwarderSettings.model_fields.keys() - ServiceSettings.model_fields.keys() | {"grpc_port"}:
        default = ForwarderSettings.model_fields[name].default
        told = {"": "host and port", False: "false"}.get(default, f"{default:g}" if isinstance(default, float | int) else str(default))
        assert f"| `{name.upper()}` | {told} |" in README, name
