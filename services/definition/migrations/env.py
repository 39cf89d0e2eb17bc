"""How Alembic reaches the tables of this service."""

from services.chassis.migrations import run_env
from services.definition.tables import metadata

run_env(metadata)
