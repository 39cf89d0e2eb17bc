"""`muster integration`: the partners that audiences can be sent to."""

from __future__ import annotations

import typer
from muster.forwarder.v1 import connection_pb2
from muster.forwarder.v1 import forwarder_service_pb2 as pb

from cli.client import Muster
from cli.output import AccountOption, JsonOption, as_dict, print_json, table, word
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The partners that audiences can be sent to.")


@app.command("list")
def list_integrations(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """List the integrations with the settings that they need."""
    with Muster(Settings.load(), account) as muster:
        answer = muster.call(muster.configurations.ListIntegrations, pb.ListIntegrationsRequest(), service="forwarder")
    if as_json:
        print_json({"integrations": [as_dict(integration) for integration in answer.integrations]})
        return
    rows = [
        (
            integration.integration_key,
            integration.name,
            ", ".join(map(_setting, integration.configuration_settings)),
            ", ".join(map(_setting, integration.connection_settings)),
        )
        for integration in answer.integrations
    ]
    table(["integration", "name", "configuration (* needed)", "connection (* needed)"], rows)


def _setting(setting: connection_pb2.Setting) -> str:
    kind = word(connection_pb2.SettingType.Name(setting.type), "SETTING_TYPE_")
    shown = f"{setting.key}{'*' if setting.required else ''}"
    return shown if kind == "string" else f"{shown} ({kind})"
