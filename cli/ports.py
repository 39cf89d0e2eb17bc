"""Which port each part of an installation on one machine listens on."""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass

HOST = "127.0.0.1"

# Where the documentation says that they are; `--port-offset` moves all of them together.
_NATS = 4222
_GRPC = {"definition": 7001, "ingest": 7002, "evaluator": 7003, "forwarder": 7004, "sharing": 7005, "export": 7006, "console": 7007}
_HTTP = {"ingest": 7080, "console": 7087}

SERVICES = tuple(_GRPC)

# Free ports are looked for below those that the system gives to outgoing lines: a service that is killed and started again must find
# its port as it left it.
_FREE_FROM, _FREE_TO = 12_000, 32_000
_HIGHEST_PORT = 65_535


class PortFault(Exception):
    """The ports asked for can't be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of nats-server and, by the service's name, of gRPC and HTTP. All on 127.0.0.1."""

    nats: int
    grpc: dict[str, int]
    http: dict[str, int]

    @property
    def nats_url(self) -> str:
        return f"nats://{HOST}:{self.nats}"

    def grpc_address(self, service: str) -> str:
        """`127.0.0.1:7001`."""
        return f"{HOST}:{self.grpc[service]}"

    def http_url(self, service: str) -> str:
        """`http://127.0.0.1:7080`, without a slash at the end."""
        return f"http://{HOST}:{self.http[service]}"

    def all(self) -> dict[str, int]:
        """Every port, by a name for people."""
        return {
            "nats": self.nats,
            **{f"{name} (gRPC)": port for name, port in self.grpc.items()},
            **{f"{name} (HTTP)": port for name, port in self.http.items()},
        }


def usual_ports(offset: int = 0) -> Ports:
    """The documented ports, each moved by `offset`."""
    ports = Ports(
        _NATS + offset,
        {name: port + offset for name, port in _GRPC.items()},
        {name: port + offset for name, port in _HTTP.items()},
    )
    if not all(0 < port <= _HIGHEST_PORT for port in ports.all().values()):
        raise PortFault(f"An offset of {offset} leads to ports that do not exist.")
    return ports


def free_ports() -> Ports:
    """Ports in a row that nothing listens on now. The row is chosen by chance, so that two callers seldom choose alike."""
    wanted = 1 + len(_GRPC) + len(_HTTP)
    rows = range(_FREE_FROM, _FREE_TO - wanted, wanted)
    for first in random.SystemRandom().sample(rows, len(rows)):
        found = iter(range(first, first + wanted))
        ports = Ports(next(found), {name: next(found) for name in _GRPC}, {name: next(found) for name in _HTTP})
        if not taken(ports):
            return ports
    raise PortFault(f"No {wanted} free ports in a row were found between {_FREE_FROM} and {_FREE_TO}.")


def taken(ports: Ports) -> dict[str, int]:
    """Those of the ports that something listens on already."""
    busy = {}
    for name, port in ports.all().items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                busy[name] = port
    return busy
