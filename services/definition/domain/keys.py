"""Keys and secrets of inputs. A secret is known to whoever created it; here only its digest is kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

_API_KEY_BYTES = 18
_API_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class InputKey:
    """A new key with its secret; the secret is left out of the text of this object, so that no log shows it."""

    api_key: str
    api_secret: str = field(repr=False)

    @property
    def api_secret_sha256(self) -> bytes:
        """What is kept. The secret is random, so it needs no salt."""
        return hashlib.sha256(self.api_secret.encode()).digest()


def new_input_key() -> InputKey:
    """A key and a secret that nobody can guess, both safe in URLs and in Basic authentication."""
    return InputKey(f"in-{secrets.token_urlsafe(_API_KEY_BYTES)}", secrets.token_urlsafe(_API_SECRET_BYTES))
