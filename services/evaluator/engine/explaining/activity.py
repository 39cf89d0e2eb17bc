"""Being a candidate."""

from ..tree import Activity
from .findings import Active, Cause
from .person import Person
from .timeline import Timeline, constant


class Candidates:
    def __init__(self, person: Person) -> None:
        self._person = person

    def timeline(self, criterion: Activity) -> Timeline:
        return constant(self._person.is_active(criterion))

    def finding(self, criterion: Activity, *, wanted: bool) -> Active:
        return Active(self._person.is_active(criterion))

    def cause(self, criterion: Activity, at: int) -> Cause | None:
        return None
