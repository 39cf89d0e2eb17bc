"""From the contract's criteria to the engine's: a file for each kind. Beside compile.py, all that knows protobuf here."""
