from services.chassis.migrations import run_env
from services.forwarder.tables import metadata

run_env(metadata)
