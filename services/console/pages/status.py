"""The page that says what runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from services.console.probe import Answer, State

_DOES = {
    "definition": "accounts, workspaces, inputs, audiences",
    "ingest": "events and profiles in",
    "evaluator": "who is in which audience",
    "forwarder": "audiences out to partners",
    "sharing": "audiences between accounts",
    "export": "archives of members",
}

_STYLE = """
:root { color-scheme: light dark; --good: #177245; --bad: #b3261e; --quiet: #667; --line: #8883 }
@media (prefers-color-scheme: dark) { :root { --good: #5ccf96; --bad: #ff8a80; --quiet: #99a } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin-bottom: 0 }
p { color: var(--quiet); margin-top: .2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .5rem .75rem .5rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600 } td.address, td.time { color: var(--quiet); font-variant-numeric: tabular-nums }
.serving { color: var(--good) } .away, .not-serving { color: var(--bad) }
"""


def page(states: Sequence[State], *, now: datetime) -> str:
    """The whole page, as HTML that loads nothing."""
    away = [state.service for state in states if state.answer is not Answer.SERVING]
    headline = "All services are serving." if not away else f"Not serving: {', '.join(away)}."
    rows = "\n".join(_row(state) for state in states)
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">
<title>Muster: {escape(headline)}</title><style>{_STYLE}</style></head>
<body>
<h1>Muster</h1>
<p>{escape(headline)} As of {escape(now.strftime("%H:%M:%S"))} UTC.</p>
<table>
<thead><tr><th scope="col">Service</th><th scope="col">State</th><th scope="col">Answered in</th><th scope="col">Address</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def _row(state: State) -> str:
    kind = {Answer.SERVING: "serving", Answer.NOT_SERVING: "not-serving", Answer.AWAY: "away"}[state.answer]
    time = "" if state.round_trip_ms is None else f"{state.round_trip_ms:.0f} ms"
    does = _DOES.get(state.service, "")
    return (
        f'<tr><th scope="row">{escape(state.service)}<br><small>{escape(does)}</small></th><td class="{kind}">{state.answer.value}</td>'
        f'<td class="time">{time}</td><td class="address">{escape(state.address)}</td></tr>'
    )
