"""Being a candidate."""

import numpy as np

from ..periods import FAR
from ..tree import Activity
from .findings import Active, Cause
from .person import Person
from .timeline import Timeline, constant, during


class Candidates:
    def __init__(self, person: Person) -> None:
        self._person = person

    def timeline(self, criterion: Activity) -> Timeline:
        """From the first that is known of the person on; what comes in the future makes a candidate at once."""
        heard = self._person.heard_in(criterion.workspaces)
        if heard is None or not self._person.is_active(criterion):
            return constant(self._person.is_active(criterion))
        return during(np.array([min(heard, self._person.now)]), np.array([FAR]))

    def finding(self, criterion: Activity, *, wanted: bool) -> Active:
        return Active(self._person.is_active(criterion))

    def cause(self, criterion: Activity, at: int) -> Cause | None:
        return None
