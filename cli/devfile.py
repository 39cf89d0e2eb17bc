"""`<data_dir>/dev.json`: what `muster dev` tells the other commands: where the services are, and how to speak to them."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

NAME = "dev.json"
_OWNER_ONLY = 0o600


class DevFileFault(Exception):
    """The file is there and can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class DevFile:
    """Addresses and tokens of one installation. It holds the secret that signs tokens, so that only its owner may read it."""

    nats_url: str
    # By the service's name: `127.0.0.1:7001`.
    grpc: dict[str, str]
    # By the service's name: `http://127.0.0.1:7080`.
    http: dict[str, str]
    token_secret: str
    # By whom they speak for: `operator`, or the number of an account.
    tokens: dict[str, str] = field(default_factory=dict)
    # The account that commands mean when they name none. None: not chosen yet.
    account_id: int | None = None
    # The process that runs the services; it may be gone.
    pid: int = 0

    def with_account(self, account_id: int, token: str) -> DevFile:
        """With a token of the account; the first account is the one that commands mean."""
        chosen = account_id if self.account_id is None else self.account_id
        return replace(self, tokens={**self.tokens, str(account_id): token}, account_id=chosen)


def read(data_dir: Path) -> DevFile | None:
    """What the file says; None where there is none. Raises DevFileFault where it is not readable."""
    path = data_dir / NAME
    try:
        known = json.loads(path.read_text())
        return DevFile(**{name: known[name] for name in DevFile.__dataclass_fields__ if name in known})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as fault:
        raise DevFileFault(f"{path} can't be used: {fault}") from None


def write(data_dir: Path, content: DevFile) -> Path:
    """Replace the file, all at once, readable by its owner only."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / NAME
    # mkstemp makes files that only their owner can read.
    handle, name = tempfile.mkstemp(dir=data_dir, prefix=f".{NAME}.")
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(content), file, indent=2)
        file.write("\n")
    Path(name).chmod(_OWNER_ONLY)
    Path(name).replace(path)
    return path
