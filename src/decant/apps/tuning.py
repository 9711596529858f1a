"""`decant tune`: measure, predict, race, decide. Rooms are wired here; `desk` holds what is found."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from decant.apps.candidates import Candidate, Host, composed, listed, sole, variants
from decant.apps.choosing import Chosen, choose
from decant.apps.compose import plain
from decant.apps.desk import Desk
from decant.apps.sampling import Sampling
from decant.decoders.method import PLAIN, Method
from decant.errors import BadInput, DecantError, IncompatibleParts
from decant.models.load import Loaded
from decant.tune import costs
from decant.tune.lanes import Lanes
from decant.tune.plan import Choice
from decant.tune.predict import Passes, Prediction, predict
from decant.tune.probe import Probe, probe
from decant.tune.race import Contender, Outcome, Rules, race

PROBE_TOKENS: Final = 32
COSTING: Final = 0.08  # of the budget
PROBING: Final = 0.35
LOSSY: Final = "it promises neither plain decoding's tokens nor its law, and tune takes lossless methods"
FIRST: Final = 0.7  # of the time for probes, before variants
ALWAYS: Final = 4  # candidates are probed, whatever the clock says
PROVING: Final = 0.12
SLACK: Final = 0.03  # what turns and probes take beyond their share
LEAST: Final = 0.25  # of the budget stays for races, however long the rest took
VARIED: Final = 4  # candidates whose knobs are varied
ENTERED: Final = 8  # candidates of a race, at most
NEAR: Final = 0.7  # of the best estimate, below which nobody enters
HOPELESS: Final = 0.8  # an estimate below which nobody enters but the best two
FLOOR: Final = 0.5  # of plain decoding's rate: a slower probe ends behind its first prompt
DOUBT: Final = (0.5, 1.5)  # how far a probe's time may move a prediction


@final
@dataclass(slots=True)
class Field:
    """What is known at one temperature. refused: by name, why it does not take part."""

    heat: float
    chosen: Chosen
    passes: Passes
    plain: Method
    plainly: Probe
    candidates: dict[str, Candidate] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def prediction(self, name: str, batch: int) -> Prediction | None:
        """From costs and acceptance alone; None of a decoder that keeps no rounds."""
        shape = self.probes[name].profile
        return None if shape is None else predict(self.passes, shape, batch)

    def estimate(self, name: str, batch: int) -> float:
        """Expected speed-up: the prediction, moved half of the way to what the probe took at batch 1."""
        seen = self.probes[name].rate / self.plainly.rate
        alone, there = self.prediction(name, 1), self.prediction(name, batch)
        if alone is None or there is None:
            return seen
        return there.speedup * min(max(seen / alone.speedup, DOUBT[0]), DOUBT[1]) ** 0.5

    def ranked(self, batch: int) -> list[str]:
        """The most promising first."""
        return sorted(self.probes, key=lambda name: -self.estimate(name, batch))


@final
@dataclass(frozen=True, slots=True)
class Scene:
    """One race: at a batch and a temperature. reason: why there was none."""

    batch: int
    field: Field
    lanes: Lanes | None
    outcome: Outcome | None
    choice: Choice
    reason: str | None = None


def priced(desk: Desk) -> dict[str, Any]:
    """What a pass costs at every batch; the report of `bench.costs`, kept under DECANT_HOME."""
    desk.tell("what a pass costs")
    middle = sum(map(len, desk.ids)) // len(desk.ids) + desk.asked.max_tokens // 2
    asked = costs.Asked((1, *desk.asked.batches), middle, COSTING * desk.asked.budget)
    identity = {"tune": 1, "model": desk.model["fingerprint"], "machine": desk.machine["fingerprint"]}
    return costs.measured(desk.target, asked, identity, lambda done, total, text: desk.tell(text))


def probed(desk: Desk, heat: float, priced_at: Mapping[str, Any]) -> Field:
    """Acceptance and drafting costs of every candidate at one temperature, then of variants of the best."""
    target = desk.target
    chosen = choose(Sampling(temperature=heat), target, {**target.defaults, "do_sample": False})
    baseline = plain(_fastest(target), chosen.warp, chosen.constraint)
    known: dict[str, Any] = desk.notes.setdefault("probes", {}).setdefault(f"{heat:g}", {})
    first = _noted(desk, known, baseline, 0.0, 0.0)
    there = Field(heat, chosen, costs.passes(priced_at, first.crank), baseline, first)
    looked: list[float] = desk.notes.setdefault("looked", [])
    fresh = heat not in looked
    begun = desk.elapsed if fresh else -math.inf  # what there was no time for is not tried later either
    share = PROBING / len(desk.asked.temperatures) * desk.asked.budget
    _probe(desk, there, listed(desk.asked.methods, desk.there), known, begun + FIRST * share)
    best: dict[str, None] = {}
    for batch in desk.asked.batches:
        best |= dict.fromkeys(there.ranked(batch)[:VARIED])
    more = [
        one
        for name in best
        if (shape := there.probes[name].profile) is not None
        for one in variants(there.candidates[name], shape, there.passes, desk.asked.batches, heat)
    ]
    other = [one for one in sole(more) if one.name not in there.probes]
    _probe(desk, there, other, known, max(begun, desk.elapsed - FIRST * share) + share if fresh else begun)
    if fresh:
        looked.append(heat)
        desk.note()
    return there


def joined(desk: Desk, there: Field, host: Host) -> None:
    """Look at what a new host brings, whatever the clock says: it was worth teaching."""
    known: dict[str, Any] = desk.notes["probes"][f"{there.heat:g}"]
    fresh = [one for one in listed(desk.asked.methods, [host]) if one.draft is not None]
    _probe(desk, there, fresh, known, math.inf)
    more = [
        other
        for one in fresh
        if one.name in there.probes and (shape := there.probes[one.name].profile) is not None
        for other in variants(one, shape, there.passes, desk.asked.batches, there.heat)
    ]
    _probe(desk, there, sole(more), known, math.inf)


def raced(desk: Desk, there: Field, batch: int) -> Scene:
    """The most promising against plain decoding, and what follows for this batch."""
    scene = f"{there.heat:g}/{batch}"
    ranked = there.ranked(batch)
    best = there.estimate(ranked[0], batch) if ranked else 0.0
    entered = [
        name
        for at, name in enumerate(ranked[:ENTERED])
        if at < 2 or there.estimate(name, batch) >= max(NEAR * best, HOPELESS)
    ]
    methods = {PLAIN: there.plain, **{name: there.methods[name] for name in entered}}
    lanes = Lanes(
        methods,
        desk.workload(batch),
        desk.asked.objective,
        desk.notes.setdefault("lanes", {}).setdefault(scene, {}),
        desk.note,
        lambda name, turn: desk.tell(f"batch {batch}, temperature {there.heat:g}, turn {turn + 1}: {name}"),
    )
    left_out = lanes.refused()
    if PLAIN in left_out:
        return Scene(batch, there, None, None, Choice(batch, there.heat, PLAIN, why=left_out[PLAIN]), left_out[PLAIN])
    there.refused |= {name: f"at batch {batch}: {why}" for name, why in left_out.items()}
    racing = [Contender(name, there.candidates[name].parts) for name in entered if name not in left_out]
    outcome = race(racing, lanes.measure, Rules(len(lanes.groups), _share(desk, scene)))
    return Scene(batch, there, lanes, outcome, _choice(there, batch, outcome))


def _share(desk: Desk, scene: str) -> float:
    """Seconds of one race: an equal part of what is left; decided once, so that a resumed race is the same."""
    shares: dict[str, float] = desk.notes.setdefault("budgets", {})
    if scene not in shares:
        races = len(desk.asked.batches) * len(desk.asked.temperatures) - len(shares)
        left = max((1 - PROVING - SLACK) * desk.asked.budget - desk.elapsed, LEAST * desk.asked.budget / max(1, races))
        shares[scene] = left / max(1, races)
        desk.note()
    return shares[scene]


def _choice(there: Field, batch: int, outcome: Outcome) -> Choice:
    if outcome.winner == PLAIN:
        return Choice(batch, there.heat, PLAIN, why=outcome.why)
    assert outcome.speedup is not None, "only plain decoding wins without one"
    one = there.candidates[outcome.winner]
    draft = str(Path(one.draft).resolve()) if one.draft and Path(one.draft).is_dir() else one.draft
    return Choice(
        batch, there.heat, one.method, draft, one.verifier, one.policy, outcome.speedup.ratio(), outcome.why
    )  # fmt: skip


def _probe(desk: Desk, there: Field, candidates: Sequence[Candidate], known: dict[str, Any], until: float) -> None:
    """Add what can be composed and is lossless; what is left when the clock says `until` is not tried, beyond a few."""
    for one in candidates:
        there.candidates[one.name] = one
        try:
            method = composed(one, desk.there, there.chosen)
            if method.promise is None:
                raise BadInput(LOSSY)
            late = desk.elapsed > until and (len(there.probes) >= ALWAYS or until == -math.inf)
            if one.name not in known and late:
                raise BadInput("there was no time to try it; give a larger --budget, or name it with --methods")
            there.probes[one.name] = _noted(
                desk, known, method, there.plainly.crank, FLOOR * there.plainly.rate
            )  # fmt: skip
            there.methods[one.name] = method
        except DecantError as error:
            there.refused[one.name] = str(error)


def _noted(desk: Desk, known: dict[str, Any], method: Method, crank: float, floor: float) -> Probe:
    """From the notebook, or measured and put there."""
    if method.name not in known:
        desk.tell(f"a look at {method.name}")
        some = desk.workload(1, desk.few)
        some.groups(4)[0].decode(method.decoder)  # the first pass of a kind chooses kernels
        groups = some.groups(PROBE_TOKENS)
        known[method.name] = probe(method, groups, groups[0].prompt_BT.device, crank, floor).kept()
        desk.note()
    return Probe.again(known[method.name])


def _fastest(target: Loaded) -> Loaded:
    """In exact mode where that is no dearer, else out of it: the baseline of `bench`."""
    with suppress(IncompatibleParts):
        exact = target.exactly(True)
        if exact.model.rows is not None and exact.model.rows.cost <= 1:
            return exact
    return target.exactly(False)
