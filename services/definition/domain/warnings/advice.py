"""All warnings of a definition beside those that its judge gives: what its author may not have meant. Nothing here forbids to save it."""

from __future__ import annotations

from datetime import datetime

from muster.definition.v1 import definition_pb2 as pb

from ..faults import Fault, Findings, Place
from ..periods import Reach
from ..validation import Surroundings
from .dates import warn_of_dates
from .literals import Reader
from .meaning import warn_of_meaning
from .names import Known, Used, names_in, warn_of_names


def used_names(definition: pb.Definition, around: Surroundings) -> frozenset[Used]:
    """What the catalogue has to be asked about a definition without faults."""
    return frozenset(used for used, _ in names_in(definition, around, Place(Findings(), "definition")))


def advice(definition: pb.Definition, around: Surroundings, known: Known, now: datetime) -> tuple[Fault, ...]:
    """The warnings of a definition without faults, in a workspace at least."""
    place = Place(Findings(), "definition")
    reach = Reach(around.look_back_days, now)
    warn_of_meaning(definition, Reader(reach, around.workspace_ids[0]), place)
    warn_of_dates(definition.root, reach, place.at("root"))
    warn_of_names(names_in(definition, around, place), known)
    return place.findings.verdict().warnings
