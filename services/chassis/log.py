"""Structured logs: one JSON object a line on standard output, with `timestamp`, `level`, `event`, `service` and what is bound.

An event is a constant with fields: `log.info("batch_sent", connection_id=7)`. No identity or attribute values, no secrets.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

# Libraries whose news at INFO is no news to an operator.
_QUIET = ("alembic", "nats", "aiosqlite", "asyncio", "hpack", "httpcore2", "httpx2", "uvicorn.access")
# Without the variables of each frame: they may hold identities and secrets.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def configure(service: str, level: str = "info", form: str = "json") -> None:
    """Send this process's logs, and those of its libraries, to standard output. `form` is json or console. May be called again."""
    number = logging.getLevelNamesMapping()[level.upper()]

    def name_service(_: Any, __: str, event: Any) -> Any:
        event.setdefault("service", service)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        name_service,
    ]
    ending: list[Processor]
    if form == "json":
        ending = [_TRACEBACKS, structlog.processors.JSONRenderer(default=str)]
    else:
        ending = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> FilteringBoundLogger:
    """The logger of a module: `log = get(__name__)`."""
    return cast(FilteringBoundLogger, structlog.get_logger(name))


def bind(**fields: object) -> None:
    """Add fields to every later log line of this task: at the way in, `bind(account_id=..., trace_id=...)`."""
    structlog.contextvars.bind_contextvars(**fields)


def bound(name: str) -> object | None:
    """The value that this task has bound under this name; None when there is none."""
    return cast("object | None", structlog.contextvars.get_contextvars().get(name))
