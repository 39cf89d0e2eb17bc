"""A port for a test's server, where it must be known before the server starts."""

from __future__ import annotations

from cli.ports import free_ports


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    return free_ports().nats
