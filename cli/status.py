"""`muster status`: what runs, and whether it is well."""

from __future__ import annotations

import socket
import time
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from muster.operations.v1 import operations_service_pb2 as pb

from cli.client import Muster
from cli.faults import CliFault, ExitCode
from cli.output import JsonOption, console, print_json, table
from cli.ports import SERVICES, usual_ports
from cli.settings import Settings

_PATIENCE_SECONDS = 2.0


def status(as_json: JsonOption = False) -> None:
    """Show which services serve, since when, and in which version. Exit code 3 if any does not."""
    settings = Settings.load()
    with Muster.as_operator(settings) as muster:
        found = [_service(muster, name) for name in SERVICES]
    nats_url = settings.dev.nats_url if settings.dev else usual_ports().nats_url
    found.insert(0, {"service": "nats", "address": nats_url, "state": "serving" if _listens(nats_url) else "away"})
    away = [item["service"] for item in found if item["state"] != "serving"]
    if as_json:
        print_json({"serving": not away, "services": found})
    else:
        rows = [(item["service"], item["state"], item.get("up", ""), item.get("version", ""), item["address"]) for item in found]
        table(["service", "state", "up", "version", "address"], rows)
        if settings.dev and "console" in settings.dev.http:
            console.print(f"\nconsole     {settings.dev.http['console']}\nEvents API  {settings.dev.http['ingest']}/v2/events")
    if away:
        raise CliFault(
            f"Not serving: {', '.join(away)}.",
            exit_code=ExitCode.UNAVAILABLE,
            hint="`muster dev` runs all of them on this machine." if len(away) == len(found) else "",
        )


def _service(muster: Muster, name: str) -> dict[str, Any]:
    address = muster.settings.address(name)
    found: dict[str, Any] = {"service": name, "address": address, "state": "away"}
    try:
        with grpc.insecure_channel(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=_PATIENCE_SECONDS)
    except grpc.RpcError:
        return found
    found["state"] = "serving" if answer.status == health_pb2.HealthCheckResponse.SERVING else "starting or stopping"
    try:
        info = muster.call(muster.operations(name).GetInfo, pb.GetInfoRequest(), service=name, timeout_seconds=_PATIENCE_SECONDS)
    except CliFault as fault:
        # Without a token of the operator one still sees what serves.
        found["note"] = fault.message
        return found
    found |= {"version": info.version, "start_time_ms": str(info.start_time_ms), "up": _span(time.time() - info.start_time_ms / 1000)}
    return found


def _span(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 2:
        return f"{seconds:.0f} s"
    if hours < 2:
        return f"{minutes:.0f} min"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} d"


def _listens(url: str) -> bool:
    host, _, port = url.rpartition("//")[2].rpartition("@")[2].rpartition(":")
    try:
        with socket.create_connection((host or "127.0.0.1", int(port)), timeout=_PATIENCE_SECONDS):
            return True
    except (OSError, ValueError):
        return False
