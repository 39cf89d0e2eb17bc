"""`muster configuration`: credentials and settings of a partner, named and reusable."""

from __future__ import annotations

from typing import Annotated

import typer
from muster.forwarder.v1 import forwarder_service_pb2 as pb

from cli.client import Muster
from cli.given import SettingOption, read_settings
from cli.output import AccountOption, JsonOption, as_dict, fields, print_json, table
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Credentials and settings of a partner, named and reusable.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="1 to 100 characters.")],
    integration: Annotated[str, typer.Option(help="The partner: `muster integration list` names them.")],
    setting: SettingOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a configuration."""
    settings = read_settings(setting or [])
    with Muster(Settings.load(), account) as muster:
        request = pb.CreateConfigurationRequest(integration_key=integration, name=name, settings=settings)
        made = muster.call(muster.configurations.CreateConfiguration, request, service="forwarder")
    if as_json:
        print_json(as_dict(made))
        return
    fields(
        [
            ("configuration", made.configuration_id),
            ("name", made.name),
            ("integration", made.integration_key),
            *sorted(made.settings.items()),
        ]
    )


@app.command("list")
def list_configurations(account: AccountOption = None, as_json: JsonOption = False) -> None:
    """List the configurations; secrets are never shown."""
    with Muster(Settings.load(), account) as muster:
        pages = muster.pages(muster.configurations.ListConfigurations, pb.ListConfigurationsRequest(), service="forwarder")
        found = [configuration for page in pages for configuration in page.configurations]
    if as_json:
        print_json({"configurations": [as_dict(configuration) for configuration in found]})
        return
    rows = [
        (
            configuration.configuration_id,
            configuration.name,
            configuration.integration_key,
            configuration.faulted_connections or "",
            ", ".join(f"{key}={value}" for key, value in sorted(configuration.settings.items())),
        )
        for configuration in found
    ]
    table(
        ["configuration", "name", "integration", "faults", "settings"], rows, right=["configuration", "faults"], empty="No configurations."
    )
