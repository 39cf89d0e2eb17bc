"""From a folder and an account to a plan, or to all faults of all files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from muster.definition.v1 import definition_service_pb2 as pb

from cli.client import Muster
from cli.code.account import Account, read_account
from cli.code.files import read_folder
from cli.code.places import Fault, refused
from cli.code.plan import Change, Kind, Plan, Refused, plan
from cli.code.resolving import Resolution, Resolved, place_of, resolve
from cli.faults import CliFault, bad_input


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with all that is needed to show it and to carry it out. `uses`: what ends with each audience that is deleted."""

    plan: Plan
    account: Account
    resolution: Resolution
    uses: Mapping[int, pb.ListAudienceUsesResponse]

    def file(self, change: Change) -> Resolved | None:
        """The file that a change is about; None for a deletion."""
        return next((one for one in self.resolution.files if one.name == change.name), None) if change.kind is not Kind.DELETE else None


def make_plan(muster: Muster, path: Path, *, prune: bool = False) -> Planned:
    """The plan for a folder. Raises CliFault, with every fault of every file."""
    folder = read_folder(path)
    if not folder.files and not folder.faults:
        # Not the same as no audiences: `--prune` would delete all.
        raise bad_input(f"There are no YAML files in {path}.", hint="`muster export FOLDER` writes them.")
    try:
        account = read_account(muster)
    except CliFault:
        if folder.faults:
            raise refused(folder.faults) from None
        raise
    resolution = resolve(muster, folder, account)
    faults = [*folder.faults, *resolution.faults]
    try:
        # Where files have faults, what has no file is not known.
        made = _plan(resolution, account, prune=prune and not faults)
    except Refused as found:
        faults += [Fault(place_of(folder.files, one.name, one.field), one.description) for one in found.refusals]
        raise refused(faults) from None
    if faults:
        raise refused(faults)
    gone = [change.audience_id for change in made.changes if change.kind is Kind.DELETE]
    return Planned(made, account, resolution, {number: uses_of(muster, number) for number in gone})


def uses_of(muster: Muster, audience_id: int) -> pb.ListAudienceUsesResponse:
    """All that ends with an audience, whoever uses it."""
    request = pb.ListAudienceUsesRequest(audience_id=audience_id, cascade=True)
    return muster.call(muster.audiences.ListAudienceUses, request, service="definition")


def _plan(resolution: Resolution, account: Account, *, prune: bool) -> Plan:
    wanted = [one.wanted for one in resolution.files]
    meanings = {one.name: one.meaning for one in resolution.files}
    return plan(wanted, account.present, meanings, now=now_utc(), prune=prune)


def now_utc() -> datetime:
    """The instant that schedules are compared with."""
    return datetime.now(UTC)
