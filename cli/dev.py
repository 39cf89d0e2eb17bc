"""`muster dev`: all of Muster on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from cli.faults import CliFault, bad_input
from cli.output import JsonOption, console
from cli.ports import PortFault, free_ports, usual_ports
from cli.settings import Settings
from cli.supervisor import NATS, Change, Event, Supervisor, SupervisorFault, ending

_TAIL_SECONDS = 0.5
_TOLD_LEVELS = {"warning": "yellow", "error": "red", "critical": "red"}
_AUTO = "auto"


def dev(
    ports: Annotated[str, typer.Option(help="`usual`: those of the documentation; `auto`: free ones.")] = "usual",
    port_offset: Annotated[int, typer.Option(help="Added to each of the usual ports, for a second installation on one machine.")] = 0,
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept; otherwise MUSTER_DATA_DIR, or `data`.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run nats-server and all services here, restart one that dies, stop all on Ctrl-C.

    Addresses and tokens are written to DATA_DIR/dev.json, where the other commands find them; logs to DATA_DIR/logs.
    """
    if ports not in ("usual", _AUTO):
        raise bad_input(f"{ports!r} is not a choice of ports.", hint="Give `--ports usual` or `--ports auto`.")
    if ports == _AUTO and port_offset:
        raise bad_input("Free ports have no offset: give --ports auto or --port-offset, not both.")
    try:
        chosen = free_ports() if ports == _AUTO else usual_ports(port_offset)
    except PortFault as fault:
        raise bad_input(str(fault)) from None
    teller = Teller(console, as_json=as_json)
    supervisor = Supervisor(data_dir or Settings.load().data_dir, ports=chosen, on_event=teller.tell)
    try:
        asyncio.run(_run(supervisor, teller))
    except SupervisorFault as fault:
        raise CliFault(str(fault)) from None


async def _run(supervisor: Supervisor, teller: Teller) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    began = time.monotonic()
    starting = asyncio.create_task(supervisor.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await starting
    try:
        if not stop.is_set():
            teller.ready(supervisor, time.monotonic() - began)
            tail = asyncio.create_task(_tail(supervisor, teller))
            await stop.wait()
            tail.cancel()
    finally:
        stopping.cancel()
        teller.stopping()
        await supervisor.stop()


async def _tail(supervisor: Supervisor, teller: Teller) -> None:
    """Tell what services log at warning or above, from now on."""
    places = {name: (supervisor.log_dir / f"{name}.jsonl") for name in supervisor.services}
    offsets = {name: path.stat().st_size for name, path in places.items()}
    while True:
        await asyncio.sleep(_TAIL_SECONDS)
        for name, path in places.items():
            with path.open("rb") as log:
                log.seek(offsets[name])
                new = log.read()
            # A line that is being written is read next time.
            whole = new[: new.rfind(b"\n") + 1]
            offsets[name] += len(whole)
            for line in whole.splitlines():
                teller.logged(name, line)


class Teller:
    """Says on the terminal what happens; with `as_json` one JSON object a line."""

    def __init__(self, out: Console, *, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json
        self._stopping = False

    def tell(self, event: Event) -> None:
        """An event of the supervisor."""
        if self._as_json:
            self._line({"event": event.change.value, "part": event.part, "starts": event.starts, "code": event.code})
            return
        name = f"[bold]{event.part:<11}[/]"
        match event.change:
            case Change.HEALTHY:
                again = f" again (start {event.starts})" if event.starts > 1 else ""
                self._out.print(f"  [green]up[/]    {name}{again}")
            case Change.DIED if not self._stopping:
                self._out.print(f"  [red]died[/]  {name} {ending(event.code or 0)}; starting it again")
            case Change.STOPPED:
                self._out.print(f"  [dim]down[/]  {name}")

    def ready(self, supervisor: Supervisor, seconds: float) -> None:
        """All are healthy."""
        made = supervisor.dev
        if self._as_json:
            path = str(supervisor.data_dir / "dev.json")
            self._line(
                {
                    "event": "ready",
                    "seconds": round(seconds, 2),
                    "grpc": made.grpc,
                    "http": made.http,
                    "nats": made.nats_url,
                    "dev_json": path,
                }
            )
            return
        self._out.print(f"\n[bold]Muster runs[/], up in {seconds:.1f} s. Ctrl-C stops it.\n")
        for words, value in (
            ("console", made.http.get("console", "")),
            ("Events API", f"{made.http.get('ingest', '')}/v2/events"),
            ("gRPC", ", ".join(f"{name} {address.rpartition(':')[2]}" for name, address in made.grpc.items())),
            (NATS, made.nats_url),
            ("tokens", str(supervisor.data_dir / "dev.json")),
            ("logs", str(supervisor.log_dir)),
        ):
            self._out.print(f"  [dim]{words:<11}[/] {escape(value)}", soft_wrap=True)
        if made.account_id is None:
            self._out.print("\n  [dim]next[/]        ./muster account create NAME", soft_wrap=True)
        self._out.print()

    def stopping(self) -> None:
        """Everything is about to stop."""
        self._stopping = True
        if not self._as_json:
            self._out.print("\nStopping.")

    def logged(self, service: str, line: bytes) -> None:
        """A line of a service's log."""
        try:
            said: dict[str, Any] = json.loads(line)
            level = str(said.pop("level", ""))
        except (ValueError, AttributeError):
            # Not a log line of ours: the words of an interpreter that ends, for one. The file has them.
            return
        if level not in _TOLD_LEVELS:
            return
        if self._as_json:
            self._line({**said, "event": "logged", "log_event": said.get("event"), "level": level, "part": service})
            return
        known = {key: value for key, value in said.items() if key not in ("timestamp", "event", "service", "exception")}
        details = " ".join(f"{key}={value}" for key, value in known.items())
        self._out.print(
            f"  [{_TOLD_LEVELS[level]}]{level:<8}[/] [bold]{service}[/] {escape(str(said.get('event', '')))} [dim]{escape(details)}[/]",
            soft_wrap=True,
        )

    def _line(self, value: dict[str, Any]) -> None:
        print(json.dumps(value), flush=True)
