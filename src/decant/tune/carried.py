"""What was measured of guesses on one machine, as far as it holds on another: which guesses stand, not what they cost.

Work of the host (lookups, tables, bookkeeping) is carried over in proportion to a plain step's: what it takes beside
its passes there, over what it took here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

from decant.errors import BadInput
from decant.tune.hardware import Hardware
from decant.tune.predict import Drafting, Profile
from decant.types import CostCurve

NO_GUESSES: Final = "it drafts nothing that a verifier judges, so no profile of guesses says how fast it is"
UNKNOWN_TREES: Final = (
    "its guesses may be trees, and a bench report does not say of how many nodes; without --acceptance it is probed"
)


@final
@dataclass(frozen=True, slots=True)
class Guesses:
    """What one method's guesses were worth.

    method:  as it was spelt.
    profile: its levels; what drafting costs in it is seconds of the machine on which it was measured.
    """

    method: str
    profile: Profile


@final
@dataclass(frozen=True, slots=True)
class Known:
    """crank: seconds of a plain step beside its passes, there where all this was measured. skipped: with reasons."""

    methods: tuple[Guesses, ...]
    crank: float
    skipped: tuple[tuple[str, str], ...] = ()


def of_race(report: Mapping[str, Any], chains: Iterable[str]) -> Known:
    """Of a report of `bench --json`. chains: names of the methods that guess chains, whose sizes follow from it.

    A chain that is not always there, a lookup's, is taken to be whole wherever it is. Raises BadInput where it is none.
    """
    chains = set(chains)
    try:
        ran = [row for row in report["methods"] if row["skipped"] is None]
        plain = ran[0]
        crank = plain["seconds"]["other"] / plain["target_calls"]
        found, skipped = [], []
        for row in ran[1:]:
            if not row["acceptance_by_position"] or row["acceptance_length"] is None:
                skipped.append((row["name"], NO_GUESSES))
            elif row["name"].partition(":")[0] not in chains:
                skipped.append((row["name"], UNKNOWN_TREES))
            else:
                found.append(Guesses(row["name"], _chain(row, crank)))
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise BadInput(f"this is no report of a race ({error}); write one with decant bench --json") from error
    return Known(tuple(found), crank, tuple(skipped))


def _chain(row: Mapping[str, Any], crank: float) -> Profile:
    """Shares of the steps in which a chain was offered, times how often one was."""
    offered = _falling(row["acceptance_by_position"])
    share = min(1.0, max(0.0, row["acceptance_length"] - 1) / sum(offered)) if sum(offered) else 1.0
    calls = row["target_calls"]
    return Profile(
        tuple(share * kept for kept in offered),
        (share,) * len(offered),
        Drafting(once=row["seconds"]["draft"] / calls),
        overhead=max(0.0, row["seconds"]["other"] / calls - crank),
    )


def of_profile(method: str, said: Mapping[str, Any]) -> Guesses:
    """Of `Profile.facts()`, as plans hold it. Raises BadInput where it is none."""
    try:
        draft = said["draft_ms"]
        kept, nodes = _falling(said["kept"]), tuple(float(count) for count in said["nodes"])
        drafting = Drafting(1e-3 * draft["once"], CostCurve((1,), (1e-3 * draft["level"],)))
        return Guesses(method, Profile(tuple(kept), nodes, drafting, said["riding"], 1e-3 * said["overhead_ms"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"the profile of {method} cannot be read: {error}") from error


def moved(profile: Profile, known: Known, machine: Hardware, guessing: Drafting | None) -> Profile:
    """The same guesses on another machine. guessing: what they cost there; None where the host looks them up."""
    slower = 1e-6 * machine.step_us / known.crank if known.crank else 1.0
    if guessing is None:
        here = profile.drafting
        level = tuple(slower * seconds for seconds in here.level.measured)
        guessing = Drafting(slower * here.once, CostCurve(here.level.rows, level))
    return replace(profile, drafting=guessing, overhead=slower * profile.overhead)


def _falling(shares: Sequence[float]) -> list[float]:
    """No share above the one before it: of few steps, the last levels can say so."""
    found: list[float] = []
    for share in shares:
        found.append(min(float(share), found[-1] if found else 1.0))
    return found
