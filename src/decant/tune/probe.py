"""What a method's guesses are worth on a few prompts: short, one request at a time, for `predict` rather than for a
verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, final

import torch

from decant.bench.clock import timed
from decant.bench.ledger import Ledger, Round
from decant.bench.origins import Origin, own_token
from decant.decoders.generate import Output
from decant.decoders.method import Method
from decant.decoders.workload import Group, warmed
from decant.errors import ShapeError
from decant.numerics import chain_parents, depths
from decant.tune.predict import Drafting, Profile
from decant.types import PAD, CostCurve


@final
@dataclass(frozen=True, slots=True)
class Probe:
    """What a method did on a few prompts.

    profile: of its guesses; None of a decoder that keeps no rounds.
    tokens, steps, seconds: said, steps of requests, and seconds after prefill; drafting and target are parts of them.
    texts:   what it said to each prompt, an id and an origin a token.
    """

    profile: Profile | None
    tokens: int
    steps: int
    seconds: float
    drafting: float
    target: float
    texts: tuple[tuple[tuple[int, Origin], ...], ...]

    @property
    def rate(self) -> float:
        """Tokens a second after prefill."""
        return self.tokens / self.seconds

    @property
    def crank(self) -> float:
        """Seconds of a step in neither model."""
        return max(0.0, self.seconds - self.drafting - self.target) / self.steps

    def kept(self) -> dict[str, Any]:
        """JSON-ready and whole, for `again`."""
        shape = self.profile
        said = None if shape is None else {**asdict(shape), "drafting": asdict(shape.drafting)}
        return {**{one.name: getattr(self, one.name) for one in fields(self)}, "profile": said}

    @classmethod
    def again(cls, said: Mapping[str, Any]) -> "Probe":
        """As `kept` wrote it."""
        shape = said["profile"]
        profile = None
        if shape is not None:
            level = CostCurve(*map(tuple, shape["drafting"]["level"].values()))
            drafting = Drafting(shape["drafting"]["once"], level)
            profile = Profile(tuple(shape["kept"]), tuple(shape["nodes"]), drafting, shape["riding"], shape["overhead"])
        texts = tuple(tuple((token, origin) for token, origin in text) for text in said["texts"])
        return cls(**{**said, "profile": profile, "texts": texts})

    def facts(self) -> dict[str, Any]:
        """JSON-ready, texts left out."""
        return {
            "tokens": self.tokens,
            "steps": self.steps,
            "tokens_a_call": round(self.tokens / self.steps, 4),
            "seconds": {
                "draft": round(self.drafting, 6),
                "target": round(self.target, 6),
                "other": round(self.crank * self.steps, 6),
            },
            "profile": None if self.profile is None else self.profile.facts(),
        }


def probe(
    method: Method, groups: Sequence[Group], device: torch.device, crank: float = 0.0, floor: float = 0.0
) -> Probe:
    """Decode each group, which holds one request. Raises what the method refuses.

    crank: of plain decoding. floor: tokens a second; the rest is left out where a method is slower at first.
    """
    ledger = Ledger(device)
    decoder: Any = timed(method.decoder, ledger)
    wall, tokens, texts = 0.0, 0, []
    for group in groups:
        if len(group.seeds) != 1:
            raise ShapeError(f"a probe decodes one request at a time, got {len(group.seeds)}; take a batch of 1")
        first, begin = len(ledger.rounds), ledger.now()
        turn = group.decode(decoder)
        wall += ledger.now() - begin
        decoder = warmed(decoder, turn.state)
        output = turn.outputs[0]
        tokens += len(output.tokens)
        texts.append(tuple(zip(output.tokens, origins(output, ledger.rounds[first:]), strict=True)))
        if tokens < floor * (wall - ledger.prefill):
            break
    seconds, steps = wall - ledger.prefill, max(1, ledger.turns)
    found = Probe(None, tokens, steps, seconds, ledger.draft, ledger.target, tuple(texts))
    shape = profile_of(ledger.rounds, ledger.draft / steps, found.crank - crank) if ledger.rounds else None
    return Probe(shape, tokens, steps, seconds, ledger.draft, ledger.target, tuple(texts))


def profile_of(rounds: Sequence[Round], drafting: float, overhead: float) -> Profile:
    """Of rounds of one request. drafting: seconds a round, laid on its levels; overhead: see `Profile`."""
    kept: list[int] = []
    nodes: list[int] = []
    riding = 0
    for one in rounds:
        levels = _levels(one)
        deepest = max(levels, default=0)
        kept += [0] * (deepest - len(kept))
        nodes += [0] * (deepest - len(nodes))
        for level in levels:
            nodes[level - 1] += 1
        for level in range(_accepted(one)):
            kept[level] += 1
        riding += one.tokens_BN.shape[1] - len(levels)  # columns of one request that are no guesses ride along
    count = len(rounds)
    level = drafting / len(kept) if kept else 0.0
    return Profile(
        tuple(share / count for share in kept),
        tuple(number / count for number in nodes),
        Drafting(0.0 if kept else drafting, CostCurve((1,), (level,))),
        riding / count,
        max(0.0, overhead),
    )


def origins(output: Output, rounds: Sequence[Round]) -> list[Origin]:
    """Of each token of one request. rounds: of its steps, in order; none of a decoder that keeps none."""
    if not rounds:
        return ["drafted" if drafted else "plain" for drafted in output.drafted]
    said: list[Origin] = []
    for one in rounds:
        said.extend("drafted" for _ in range(_accepted(one)))
        said.append(own_token(one))
    said.extend("plain" for _ in range(len(said), len(output.tokens)))
    return said[: len(output.tokens)]  # a text ends where it ends, whatever was guessed behind it


def _levels(one: Round) -> list[int]:
    """The depth of each guess."""
    parents_BN = chain_parents(one.tokens_BN) if one.parents_BN is None else one.parents_BN
    depth_BN = depths(parents_BN)
    return depth_BN[one.tokens_BN != PAD].tolist()  # sync: counted on the host


def _accepted(one: Round) -> int:
    return int((one.nodes_BC != PAD).sum())  # sync: as above
