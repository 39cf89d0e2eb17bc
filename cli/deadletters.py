"""`muster deadletters`: the messages that a service could not take."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from muster.operations.v1 import operations_service_pb2 as pb

from cli.client import Muster
from cli.faults import CliFault, ExitCode, bad_input
from cli.output import JsonOption, as_dict, console, print_json, table, when
from cli.ports import SERVICES
from cli.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The messages that a service could not take; for the operator of the installation.")


@app.command("list")
def list_dead_letters(
    service: Annotated[list[str] | None, typer.Option(help="Of this service; may be repeated. None: of all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters with their reasons, the oldest first. The bodies stay where they are: they may hold personal data."""
    found: list[tuple[str, pb.DeadLetter]] = []
    away: list[CliFault] = []
    with Muster.as_operator(Settings.load()) as muster:
        for name in _known(service or list(SERVICES)):
            try:
                request = pb.ListDeadLettersRequest()
                pages = muster.pages(muster.operations(name).ListDeadLetters, request, service=name)
                found += [(name, letter) for page in pages for letter in page.dead_letters]
            except CliFault as fault:
                if fault.exit_code is not ExitCode.UNAVAILABLE:
                    raise
                away.append(fault)
    if as_json:
        documents: list[dict[str, Any]] = [{"service": name, **as_dict(letter)} for name, letter in found]
        print_json({"dead_letters": documents})
    else:
        rows = [(name, letter.sequence, letter.subject, letter.tries, when(letter.create_time_ms), letter.reason) for name, letter in found]
        columns = ["service", "sequence", "subject", "tries", "since", "reason"]
        table(columns, rows, right=["sequence", "tries"], empty="No dead letters.")
    if away:
        raise away[0]


@app.command("replay")
def replay(
    service: Annotated[str, typer.Option(help="The service whose dead letters they are.")],
    sequence: Annotated[list[int] | None, typer.Argument(min=1, help="Which of them; none: all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Publish dead letters again where they came from, once their cause is mended."""
    [name] = _known([service])
    with Muster.as_operator(Settings.load()) as muster:
        request = pb.ReplayDeadLettersRequest(sequences=sequence or [])
        answer = muster.call(muster.operations(name).ReplayDeadLetters, request, service=name)
    if as_json:
        print_json(as_dict(answer))
    else:
        console.print(f"{answer.replayed} replayed.")
    if sequence and answer.replayed < len(set(sequence)):
        raise CliFault(f"Only {answer.replayed} of {len(set(sequence))} were there: `muster deadletters list --service {name}` shows them.")


def _known(services: list[str]) -> list[str]:
    unknown = [name for name in services if name not in SERVICES]
    if unknown:
        raise bad_input(f"There is no service {unknown[0]!r}.", hint=f"There are: {', '.join(SERVICES)}.")
    return services
