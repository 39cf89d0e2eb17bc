"""`muster demo`: the whole of Muster at work on this machine, checked against an independent count."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.demo.faults import DemoFault
from cli.demo.run import Demo, Outcome, Plan
from cli.demo.show import Show, milliseconds
from cli.faults import CliFault
from cli.output import JsonOption, console, count, print_json
from cli.settings import ROOT
from cli.supervisor import Supervisor

_FOLDER = ROOT / "build" / "demo"


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
    people: Annotated[int, typer.Option(min=1_000, max=1_000_000, help="How many people, with 15 events each.")] = Plan.people,
    picture: Annotated[Path | None, typer.Option(help="Also write what was shown to this file, as an SVG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run everything here for half a minute and check it: people come, start sessions, and leave an audience while you watch.

    Its own services on free ports and in a fresh folder: nothing else on this machine is touched. Exit code 1 if anything differs from an
    independent count.
    """
    show = Show(console, quiet=as_json)
    folder = _fresh_folder()
    supervisor = Supervisor(folder)
    failed: CliFault | None = None
    show.say("\n[bold]Muster[/], live and exact audiences. Everything below happens on this machine, now.\n")
    try:
        outcome = asyncio.run(_run(Demo(supervisor, show, Plan(people=people)), show, keep=keep, as_json=as_json))
        if outcome.differences:
            failed = CliFault("It differs: " + "; ".join(outcome.differences) + ".", hint=f"Logs and data stay in {folder}.")
    except DemoFault as fault:
        failed = CliFault(str(fault), hint=f"Logs and data stay in {folder}.")
    except asyncio.CancelledError:
        failed = CliFault("Stopped before the end.")
    if picture is not None:
        picture.write_text(show.picture("make demo"))
    if failed is not None:
        raise failed
    _tidy(folder)


async def _run(demo: Demo, show: Show, *, keep: bool, as_json: bool) -> Outcome:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        if task is not None:
            loop.add_signal_handler(number, task.cancel)
    async with demo.running() as outcome:
        if as_json:
            print_json({**outcome.figures, "differences": outcome.differences})
        else:
            _close(show, outcome)
        if keep:
            stop = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop.set)
            _tell_addresses(show, demo)
            await stop.wait()
            show.say("\nStopping.")
    return outcome


def _close(show: Show, outcome: Outcome) -> None:
    known = outcome.figures
    title = "Nothing lost, nothing doubled, all equal" if not outcome.differences else "This differs from what it should be"
    same = dict.fromkeys([known["members_counted"]], "the same")
    show.table(
        title,
        [
            ("people", count(known["people"]), ""),
            ("events sent", count(known["events"]), f"{count(known['events_by_client'])} by the mparticle client"),
            ("members: independent count", count(known["members_counted"]), "plain Python, from what was sent"),
            ("members: the API", count(known["members_api"]), same.get(known["members_api"], "differs")),
            ("members: the webhook", count(known["members_webhook"]), same.get(known["members_webhook"], "differs")),
            ("adds delivered", count(known["adds_delivered"]), ""),
            ("drops delivered", count(known["drops_delivered"]), f"in {count(known['requests_delivered'])} requests in all"),
            ("lost", count(known["lost"]), ""),
            ("doubled", count(known["doubled"]), ""),
            ("left by a third session", count(known["left_by_session"]), f"{_pair(known, 'latency', 'p99')} after the 202"),
            ("left as time passed", count(known["left_by_time"]), f"{_pair(known, 'lateness', 'max')} late"),
            ("took", f"{known['seconds']:.0f} s", f"{count(known['events_per_second'])} events a second sent"),
        ],
    )


def _pair(known: dict[str, Any], name: str, other: str) -> str:
    return f"p50 {milliseconds(known[f'{name}_p50_ms'])}, {other} {milliseconds(known[f'{name}_{other}_ms'])}"


def _tell_addresses(show: Show, demo: Demo) -> None:
    supervisor, installation = demo.supervisor, demo.installation
    made = supervisor.dev
    key, secret = installation.feed_key if installation is not None else ("", "")
    show.say("[bold]It goes on[/], until Ctrl-C:\n")
    for name, value in (
        ("console", made.http["console"]),
        ("Events API", f"{made.http['ingest']}/v2/events"),
        ("user:password", f"{key}:{secret}"),
        *((f"{service} gRPC", address) for service, address in made.grpc.items()),
        ("nats", made.nats_url),
        ("token", installation.token if installation is not None else ""),
        ("logs", str(supervisor.log_dir)),
        ("command line", f"MUSTER_DATA_DIR={supervisor.data_dir} ./muster audience list"),
    ):
        show.say(f"  [dim]{name:<16}[/] {escape(value)}")


def _fresh_folder() -> Path:
    """An empty folder of the demo's own; another one while a demo runs in the usual one."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / "dev.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return Path(tempfile.mkdtemp(prefix="demo-", dir=_FOLDER.parent))
    shutil.rmtree(_FOLDER)
    _FOLDER.mkdir()
    return _FOLDER


def _tidy(folder: Path) -> None:
    """Keep only the logs of a demo that went well."""
    for path in folder.iterdir():
        if path.name == "logs":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
