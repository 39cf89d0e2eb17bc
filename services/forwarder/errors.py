"""What the forwarder refuses, each with its stable reason."""

from __future__ import annotations

from services.chassis.errors import AlreadyExists, Conflict, FailedPrecondition, FieldViolation, Invalid, NotFound
from services.forwarder.domain.forms import FormFault


class UnknownIntegration(NotFound):
    """The directory has no such partner."""


class ConfigurationNotFound(NotFound):
    """There is no such configuration in the caller's account."""


class ConfigurationInUse(FailedPrecondition):
    """The configuration has connections."""


class ConnectionNotFound(NotFound):
    """There is no such connection in the caller's account."""


class ConnectionExists(AlreadyExists):
    """The audience is connected to this configuration already."""


class AudienceNotFound(NotFound):
    """There is no such audience in the caller's account."""


class AudienceNotActive(FailedPrecondition):
    """Only an active audience can be connected."""


class AudienceHasTest(FailedPrecondition):
    """The audience has an A/B test, so each of its variations is connected by itself."""


class StaleEtag(Conflict):
    """It was changed since the caller read it."""


class IdempotencyKeyReused(AlreadyExists):
    """The key stands for another request."""


class SettingsInvalid(Invalid):
    """The settings do not fill the partner's form."""

    reason = "SETTING_INVALID"


def settings_invalid(field: str, faults: list[FormFault]) -> SettingsInvalid:
    """The faults of a form, each with its place in the request."""
    return SettingsInvalid(violations=[FieldViolation(f'{field}["{fault.key}"]', fault.description, fault.reason) for fault in faults])
