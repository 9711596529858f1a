"""Walks back through masking have the law that their cards say, whatever opens again."""

from collections import defaultdict
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Outlook, Turn
from decant.errors import BadInput
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.schedules.blocks import Blocks
from decant.schedules.full import Full
from decant.testing.canvases import HashLM
from decant.testing.chi_square import assert_distributed_as, power
from decant.types import PAD
from decant.unmaskers.ancestral import Ancestral
from decant.unmaskers.remdm import ReMDM, Walk
from tests.unmaskers.outlooks import filled, tables

JOINT = {(0, 0): 0.6, (0, 1): 0.005, (1, 0): 0.005, (1, 1): 0.39}
MODEL = tables(JOINT, vocab=3)
KINDS: list[ReMDM] = [
    ReMDM(grid=4, kind="cap", eta=0.6),
    ReMDM(grid=4, kind="rescale", eta=0.9),
    ReMDM(grid=5, kind="conf", eta=1.0),
]
State = tuple[tuple[int | None, float], ...]
"""Of each place: what it holds, None: it is open; and how sure it was."""


def told(state: State, place: int) -> list[float]:
    """The law of an open place."""
    fits = {
        answer: chance
        for answer, chance in JOINT.items()
        if all(token in (None, said) for (token, _), said in zip(state, answer, strict=True))
    }
    mass = [sum(chance for answer, chance in fits.items() if answer[place] == token) for token in (0, 1)]
    return [one / sum(mass) for one in mass]


def sigmas(unmasker: ReMDM, state: State, kept: float, later: float) -> list[float]:
    """The card's: of settled places."""
    most = 1.0 if kept == 0 else min(1.0, (1 - later) / kept)
    eta = unmasker.strength
    if unmasker.kind != "conf":
        return [min(eta, most) if unmasker.kind == "cap" else eta * most] * len(state)
    weights = [0.0 if token is None else float(torch.tensor(-sure).exp()) for token, sure in state]
    return [eta * most * weight / max(sum(weights), 1e-12) for weight in weights]


def walked(unmasker: ReMDM) -> dict[tuple[int, ...], float]:
    """The law of the answers by the chain of the card, step by step."""
    law: dict[State, float] = {((None, 0.0), (None, 0.0)): 1.0}
    for step in range(unmasker.grid):
        kept, later = step / unmasker.grid, (step + 1) / unmasker.grid
        after: dict[State, float] = defaultdict(float)
        for state, chance in law.items():
            settled = sigmas(unmasker, state, kept, later)
            moves: list[list[tuple[tuple[int | None, float], float]]] = []
            for place, (token, sure) in enumerate(state):
                if token is not None:
                    moves.append([((token, sure), 1 - settled[place]), ((None, 0.0), settled[place])])
                    continue
                sigma = 0.0 if unmasker.kind == "conf" else settled[place]
                settles = (later - (1 - sigma) * kept) / (1 - kept)
                stays = (1 - later - sigma * kept) / (1 - kept)
                assert settles + stays == pytest.approx(1)
                probs = told(state, place)
                moves.append([((None, 0.0), stays), *(((said, probs[said]), settles * probs[said]) for said in (0, 1))])
            for ways in product(*moves):
                weight = chance
                for _, one in ways:
                    weight *= one
                if weight > 0:
                    after[tuple(way for way, _ in ways)] += weight
        law = after
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for state, chance in law.items():
        assert all(token is not None for token, _ in state), "the last step leaves nothing open"
        found[tuple(token or 0 for token, _ in state)] += chance
    return found


def as_law(found: dict[tuple[int, ...], float]) -> Tensor:
    return torch.tensor([found.get(answer, 0.0) for answer in JOINT], dtype=torch.float64)


def drawn(unmasker: Any, count: int) -> Tensor:
    """Numbers of answers."""
    canvas_RL, passes = filled(MODEL, unmasker, count)
    assert passes <= unmasker.grid
    return canvas_RL @ torch.tensor([2, 1])


@pytest.mark.parametrize("unmasker", [*KINDS, Ancestral(grid=4)], ids=repr)
def test_answers_have_the_law_of_the_chain(unmasker: Any) -> None:
    """2,000 answers on 3 degrees of freedom. Planted: all places at once, which is caught with power above 0.99."""
    opening = isinstance(unmasker, ReMDM)
    walk = unmasker if opening else ReMDM(grid=unmasker.grid, eta=0.0)
    law = as_law(walked(walk))
    assert_distributed_as(drawn(unmasker, 2000), law, repr(unmasker))
    wrong = as_law(walked(replace(walk, grid=1)))
    assert power(float(((wrong - law) ** 2 / law).sum()), 2000, 3) > 0.99
    with pytest.raises(AssertionError, match="not the law"):
        assert_distributed_as(drawn(replace(unmasker, grid=1), 2000), law, "all at once")


def told_of_one_place(unmasker: ReMDM, requests: int) -> list[Tensor]:
    """What each pass said of a place that is 0 with a chance of 0.3, else 1; PAD: the request had ended."""
    logits_RV = torch.tensor([[0.3, 0.7, 0.0]]).log().expand(requests, -1)
    noise = Noise.of(list(range(requests)))
    canvas_BL = torch.full((requests, 1), 2)
    state, said = unmasker.start(canvas_BL, noise), []
    while bool((canvas_BL == 2).any()):
        row_N, place_N = (canvas_BL == 2).nonzero(as_tuple=True)
        seen = Outlook(canvas_BL, row_N, place_N, logits_RV[row_N], temperature(1.0), noise)
        reveal, state = unmasker.reveal(state, seen, Turn(canvas_BL == 2))
        said.append(reveal.tokens_BL[:, 0].where(canvas_BL[:, 0] == 2, PAD))
        assert reveal.again_BL is not None
        canvas_BL = reveal.tokens_BL.where(reveal.settled_BL & (canvas_BL == 2), canvas_BL)
        canvas_BL = canvas_BL.masked_fill(reveal.again_BL, 2)
    return said


def openings(unmasker: ReMDM, forgets: bool = False) -> Tensor:
    """The law of how often one place opens again: 0, 1, or more. forgets: a planted bug, settling does not make up for
    what opens again."""
    law = {(True, 0): 1.0}
    for step in range(unmasker.grid):
        kept, later = step / unmasker.grid, (step + 1) / unmasker.grid
        sigma = sigmas(unmasker, ((0, 0.5),), kept, later)[0]
        undoing = 0.0 if forgets or unmasker.kind == "conf" else sigma
        stays = (1 - later - undoing * kept) / (1 - kept)
        after: dict[tuple[bool, int], float] = defaultdict(float)
        for (is_open, times), chance in law.items():
            after[(is_open, times)] += chance * (stays if is_open else 1 - sigma)
            after[(not is_open, times + (not is_open))] += chance * (1 - stays if is_open else sigma)
        law = after
        if not forgets and unmasker.kind != "conf":
            assert sum(chance for (is_open, _), chance in law.items() if is_open) == pytest.approx(1 - later)
    counts = [sum(chance for (_, times), chance in law.items() if min(times, 2) == count) for count in range(3)]
    return torch.tensor(counts, dtype=torch.float64)


@pytest.mark.parametrize("unmasker", KINDS, ids=repr)
def test_a_place_opens_again_as_often_as_the_chain_says(unmasker: ReMDM) -> None:
    """20,000 requests. Planted where sigma is not shared out: settling that does not make up for what opens again,
    which is caught with power above 0.99."""
    said = told_of_one_place(unmasker, 20000)
    passes_R = torch.stack([one_R != PAD for one_R in said]).sum(0)
    law = openings(unmasker)
    assert_distributed_as((passes_R - 1).clamp_max(2), law, "how often a place opened again")
    if unmasker.kind != "conf":
        wrong = openings(unmasker, forgets=True)
        assert power(float(((wrong - law) ** 2 / law)[law > 0].sum()), 20000, 2) > 0.99
        with pytest.raises(AssertionError, match="not the law"):
            assert_distributed_as((passes_R - 1).clamp_max(2), wrong, "what a wrong chain promises")


def test_a_place_that_opened_again_is_drawn_afresh() -> None:
    """Tokens of the first three passes are independent. About 4,000 requests have three: saying again what was said
    before has an effect of 5 and would be caught with power above 0.99."""
    said = told_of_one_place(ReMDM(grid=8, kind="rescale", eta=1.0), 8000)
    there_R = said[2] != PAD
    triples_R = torch.stack([token_R[there_R] * 2**at for at, token_R in enumerate(said[:3])]).sum(0)
    probs = [0.3, 0.7]
    law = [probs[number & 1] * probs[number >> 1 & 1] * probs[number >> 2] for number in range(8)]
    assert int(there_R.sum()) > 1000
    assert_distributed_as(triples_R, torch.tensor(law), "tokens of three passes")
    assert power(5.0, int(there_R.sum()), 7) > 0.99


def answered(unmasker: Any, schedule: Any) -> Tensor:
    model = HashLM(vocab=7)
    decoder = MaskedDiffusion(model, unmasker, schedule, NoCache(), temperature(1.0))
    with torch.inference_mode():
        state = decoder.start(right_pad([[1, 2] + [6] * 12, [3] + [6] * 9]), Noise.of([1, 2]))
        while bool((state.canvas_BL == 6).any()):
            state, _ = decoder.step(state)
    return state.canvas_BL


@pytest.mark.parametrize("kind", ["cap", "rescale", "conf"])
@pytest.mark.parametrize("schedule", [Full(6), Blocks(6, 4)], ids=repr)
def test_without_sigma_it_is_ancestral(kind: Any, schedule: Any) -> None:
    wanted = answered(Ancestral(grid=5), schedule)
    assert answered(ReMDM(grid=5, kind=kind, eta=0.0), schedule).equal(wanted)
    others = [answered(ReMDM(grid=5, kind="rescale", eta=1.0), schedule), answered(Ancestral(grid=2), schedule)]
    assert not any(other.equal(wanted) for other in others)


def test_the_share_of_open_places_follows_the_time() -> None:
    """Of 30 places of 200 requests the share that is open behind each step is 1 - step / grid, within 0.04: six
    standard errors of 6,000 coins."""
    unmasker, count = Ancestral(grid=5), 200
    canvas_BL = torch.full((count, 30), 2)
    noise = Noise.of(list(range(count)))
    for step in range(1, 6):
        row_N, place_N = (canvas_BL == 2).nonzero(as_tuple=True)
        logits_NV = torch.tensor([[0.0, 0.0, -torch.inf]]).expand(len(row_N), -1)
        seen = Outlook(canvas_BL, row_N, place_N, logits_NV, greedy(), noise)
        reveal, _ = unmasker.reveal(None, seen, Turn(canvas_BL == 2))
        canvas_BL = reveal.tokens_BL.where(reveal.settled_BL, canvas_BL)
        assert float((canvas_BL == 2).float().mean()) == pytest.approx(1 - step / 5, abs=0.04)


def test_the_less_sure_a_place_the_sooner_it_opens() -> None:
    """Sigma of settled places is shared out by doubt; open ones and given ones have none."""
    unmasker = ReMDM(grid=10, kind="conf", eta=1.0)
    settled = torch.tensor([[True, True, True, False]])
    sure_BL = torch.tensor([[0.9, 0.2, 0.5, 0.0]])
    walk = Walk(torch.tensor([6]), ~settled, settled | ~settled, settled.double(), torch.zeros(1, 4).long(), sure_BL)
    sigma_BL, sigma_B = unmasker.sigma(walk)
    shares = torch.tensor([-0.9, -0.2, -0.5]).double().softmax(-1)
    torch.testing.assert_close(sigma_BL[0, :3], shares * (1 - 0.7) / 0.6, rtol=1e-6, atol=1e-6)
    assert sigma_BL[0, 3] == 0
    assert sigma_B.tolist() == [0.0]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadInput, match="grid is 1 step or more, got 0"):
        Ancestral(0)
    for wrong in ({"grid": 0}, {"eta": 1.5}, {"kind": "loop"}):
        with pytest.raises(BadInput, match="remdm needs a grid of 1 step or more, eta between 0 and 1"):
            ReMDM(**wrong)  # pyright: ignore[reportArgumentType]
