"""What each kind of criterion says of one person."""

from typing import Protocol, TypeVar

from .findings import Cause, Finding
from .timeline import Timeline

C_contra = TypeVar("C_contra", contravariant=True)


class Kind(Protocol[C_contra]):
    def timeline(self, criterion: C_contra) -> Timeline:
        """When it is true: of instants up to now by the facts as they are known now, each at its own time; of later ones if nothing new
        arrives."""

    def finding(self, criterion: C_contra, *, wanted: bool) -> Finding:
        """What is found now, and what is missing for it to be true, or false, as is wanted."""

    def cause(self, criterion: C_contra, at: int) -> Cause | None:
        """What turns it at the instant; None: nothing that has a name of its own."""
