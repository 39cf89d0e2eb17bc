"""An account's own rules of who is who (services/ingest/domain/resolution.py says what they do)."""

from __future__ import annotations

from dataclasses import dataclass

from .faults import Fault, Findings, Place, Reason


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """Of one type, a number of muster.ingest.v1.IdentityType. `max_values` 0: any number."""

    type: int
    max_values: int
    moves: bool


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """The strongest type first; `keep_apart`: nobody becomes one with anybody."""

    rules: tuple[IdentityRule, ...]
    keep_apart: bool


def identity_rules_faults(rules: IdentityRules | None) -> tuple[Fault, ...]:
    """What is wrong with an account's rules: a type has one rule at most."""
    findings = Findings()
    place = Place(findings, "identity_rules")
    types = [rule.type for rule in rules.rules] if rules else []
    for index, type_ in enumerate(types):
        if type_ in types[:index]:
            place.at("rules", index).at("type").fault(Reason.NOT_APPLICABLE, "The type has a rule already; give each type once.")
    return findings.verdict().faults
