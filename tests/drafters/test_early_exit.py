import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.speculative import Speculative
from decant.drafters.early_exit import EarlyExit
from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import take
from decant.policies.fixed import Fixed
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.exits import MarkovExits
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Scores
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection
from decant.verifiers.tree_rejection import TreeRejection

LM = MarkovLM.random(vocab=6, seed=0)
EXITS = MarkovExits.beneath(LM, layers=6)
PROMPT_BT = torch.tensor([[0, 1, 2], [3, PAD, PAD]])


def draft(drafter: EarlyExit, shape: DraftShape) -> Draft:
    return drafter.draft(None, shape, greedy(), Noise.of([1, 2]), LM.start(PROMPT_BT)[0])


@pytest.mark.parametrize(
    ("knob", "asked", "taken"), [(None, None, 2), (3, None, 3), (3, 5, 5), (None, 6, 6), (None, 1, 1)]
)
def test_a_third_of_the_layers_unless_told_otherwise(knob, asked, taken: int) -> None:
    chain = draft(EarlyExit(EXITS, knob), DraftShape(4, exit=asked))
    text = [0, 1, 2]
    for token in chain.tokens_BN[0].tolist():
        assert token == int(EXITS.rungs[taken - 1].logits_UVV[text[-2], text[-1]].argmax())
        text.append(token)


def test_a_shallow_target_is_left_after_its_first_layer() -> None:
    lone = MarkovExits((LM,))
    assert torch.equal(
        draft(EarlyExit(lone), DraftShape(2)).tokens_BN, draft(EarlyExit(EXITS, 6), DraftShape(2)).tokens_BN
    )


@pytest.mark.parametrize(
    ("verifier", "coupled", "width"),
    [(Coupled(), True, 1), (Coupled(), True, 2), (Rejection(), False, 1), (TreeRejection(), False, 2)],
)
@pytest.mark.parametrize("exit", [2, 6])
def test_the_last_exit_is_always_accepted_and_a_lower_one_is_not(
    verifier, coupled: bool, width: int, exit: int
) -> None:
    drafter = EarlyExit(EXITS, exit, coupled)
    loop = Speculative(LM, drafter, verifier, Fixed(3, width), temperature(1.0), Unconstrained())
    state = loop.start(PROMPT_BT[:1].expand(200, -1), Noise.of(list(range(200))))
    for _ in range(3):
        state, step = loop.step(state)
        assert bool(((step.tokens_BC != PAD).sum(-1) == 4).all()) == (exit == 6)


def test_acceptance_is_what_the_two_laws_have_in_common() -> None:
    """T3: sum over tokens of min(p, q), within three standard errors."""
    runs, warp = 20_000, temperature(1.0)
    noise = Noise(torch.arange(runs), torch.zeros(runs, dtype=torch.int64))
    context, _ = LM.start(PROMPT_BT[:1].expand(runs, -1))
    chain = EarlyExit(EXITS, 3, coupled=False).draft(None, DraftShape(1), warp, noise, context)
    p_BMV = LM.score(context, chain).logits_BMV.softmax(-1)
    kept = (Rejection().verify(chain, p_BMV, noise).accepted_B == 1).double().mean()
    rate = float(torch.minimum(p_BMV[0, 0], EXITS.rungs[2].logits_UVV[1, 2].softmax(-1)).sum())
    error = (rate * (1 - rate) / runs) ** 0.5
    assert abs(float(kept) - rate) < 3 * error
    assert chain.laws_BMV is not None
    assert (take(chain.laws_BMV, chain.tokens_BN) > 0).all()


@pytest.mark.parametrize("exit", [0, 7, -1])
def test_an_exit_that_the_target_lacks_is_refused(exit: int) -> None:
    with pytest.raises(BadInput, match=f"early-exit leaves after 1 to 6 layers of this target, not {exit}"):
        EarlyExit(EXITS, exit)


def test_nothing_is_remembered() -> None:
    drafter = EarlyExit(EXITS)
    assert drafter.start(PROMPT_BT, Scores(torch.zeros(2, 0, 6))) is None
