from services.chassis.migrations import run_env
from services.evaluator.tables import metadata

run_env(metadata)
