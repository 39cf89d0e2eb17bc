"""The nats-server of an installation on one machine: where its binary is, and how it is set."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from cli.ports import HOST

# JetStream acknowledges once a message is written; it reaches the disk itself at the latest after this time. The death of a process
# loses nothing, the loss of power may lose this much of what no service has taken yet.
_SYNC_INTERVAL = "5s"
_STORE_MAX = "64GB"


class NatsServerMissing(Exception):
    """There is no nats-server in this environment."""


def binary() -> str:
    """The path of nats-server: that of this Python environment, or else the one on the PATH."""
    own = Path(sys.executable).parent / "nats-server"
    found = str(own) if own.exists() else shutil.which("nats-server")
    if found is None:
        raise NatsServerMissing("nats-server was not found: `make setup` installs it.")
    return found


def command(folder: Path, port: int) -> list[str]:
    """The command that runs nats-server on 127.0.0.1 with its streams and its configuration in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nats.conf"
    config.write_text(
        f"""# Written by `muster dev` at every start.
listen: "{HOST}:{port}"
server_name: muster
jetstream {{
  store_dir: {json.dumps(str(folder))}
  max_file_store: {_STORE_MAX}
  sync_interval: "{_SYNC_INTERVAL}"
}}
"""
    )
    return [binary(), "--config", str(config)]
