"""The `muster` command: a client of the services, and the supervisor that runs them all on one machine."""
