"""The states of an audience and the moves between them (semantics: Activation and editing)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum

from services.chassis.errors import FailedPrecondition


class State(IntEnum):
    """The numbers are those of muster.definition.v1.AudienceState."""

    DRAFT = 1
    ACTIVE = 2
    INACTIVE = 3
    DELETED = 4


class Move(Enum):
    """What can be asked of an audience."""

    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    DELETE = "delete"
    EDIT = "edit"
    CLONE = "clone"


class AudienceDeleted(FailedPrecondition):
    """The audience was deleted: it can be read, and nothing else."""


class AudienceNotActive(FailedPrecondition):
    """Only an active audience can be deactivated."""


# Where a move leads; what is not here is refused. A move that leads to where the audience is already changes nothing, so that a
# command can be repeated when its answer was lost.
_MOVES: Mapping[tuple[State, Move], State] = {
    (State.DRAFT, Move.EDIT): State.DRAFT,
    (State.DRAFT, Move.CLONE): State.DRAFT,
    (State.DRAFT, Move.ACTIVATE): State.ACTIVE,
    (State.DRAFT, Move.DELETE): State.DELETED,
    (State.ACTIVE, Move.EDIT): State.ACTIVE,
    (State.ACTIVE, Move.CLONE): State.ACTIVE,
    (State.ACTIVE, Move.ACTIVATE): State.ACTIVE,
    (State.ACTIVE, Move.DEACTIVATE): State.INACTIVE,
    (State.ACTIVE, Move.DELETE): State.DELETED,
    (State.INACTIVE, Move.EDIT): State.INACTIVE,
    (State.INACTIVE, Move.CLONE): State.INACTIVE,
    (State.INACTIVE, Move.ACTIVATE): State.ACTIVE,
    (State.INACTIVE, Move.DEACTIVATE): State.INACTIVE,
    (State.INACTIVE, Move.DELETE): State.DELETED,
    (State.DELETED, Move.DELETE): State.DELETED,
}


def moved(state: State, move: Move, *, audience_id: int) -> State:
    """The state after a move. Raises AudienceDeleted or AudienceNotActive where there is none; `audience_id` is for the message."""
    try:
        return _MOVES[state, move]
    except KeyError:
        if state is State.DELETED:
            message = f"The audience {audience_id} was deleted; it cannot be changed, activated or cloned any more."
            raise AudienceDeleted(message, audience_id=audience_id) from None
        message = f"The audience {audience_id} is a draft; only an active one can be deactivated."
        raise AudienceNotActive(message, audience_id=audience_id, state=state.name) from None
