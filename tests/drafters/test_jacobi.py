import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import generate
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.jacobi import Jacobi, JacobiState
from decant.drafting.ahead import drawn_ahead
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.types import Draft, DraftShape, Scores, Verdict, join_rows, select_rows
from decant.verifiers.coupled import Coupled
from tests.drafters.tiny import llama

LM = MarkovLM.random(vocab=12, seed=0)
BLOCK = 8
PROMPT = torch.tensor([[3, 1, 4], [2, 7, 1]])
NOISE = Noise.of([5, 6])
WARPS = {"greedy": greedy(), "T=0.8": temperature(0.8)}


def refined(guess_BN, warp, slip: int = 0):
    """One iteration over a block that does not slide; `slip` plants a wrong depth."""
    context, _ = LM.start(PROMPT)
    logits_BMV = LM.score(context, Draft(guess_BN)).logits_BMV
    depth_BN = torch.arange(BLOCK).expand(len(PROMPT), -1) + slip
    return drawn_ahead(logits_BMV[:, :BLOCK], depth_BN, warp, NOISE)


def said(warp):
    plain = Autoregressive(LM, warp, Unconstrained())
    return torch.tensor([o.tokens for o in generate(plain, PROMPT, NOISE, [Stopping(BLOCK)] * 2).outputs])


@pytest.mark.parametrize("warp", WARPS)
def test_the_first_k_tokens_are_right_after_k_iterations(warp: str) -> None:
    want_BN, guess_BN = said(WARPS[warp]), torch.zeros(2, BLOCK, dtype=torch.int64)
    for k in range(1, BLOCK + 1):
        guess_BN = refined(guess_BN, WARPS[warp])
        assert torch.equal(guess_BN[:, :k], want_BN[:, :k])
    assert torch.equal(refined(guess_BN, WARPS[warp]), guess_BN), "what plain decoding says is the fixed point"


def test_numbers_of_another_position_are_seen() -> None:
    """The planted bug: at a temperature the fixed point is the target's own text only with its own numbers."""
    guess_BN = torch.zeros(2, BLOCK, dtype=torch.int64)
    for _ in range(BLOCK):
        guess_BN = refined(guess_BN, WARPS["T=0.8"], slip=1)
    assert not torch.equal(guess_BN, said(WARPS["T=0.8"]))


def decoder(target, warp, depth: int) -> Speculative:
    return Speculative(target, Jacobi(), Coupled(), Fixed(depth=depth), warp, Unconstrained())


@pytest.mark.parametrize("warp", WARPS)
def test_where_context_does_not_matter_every_refined_guess_stands(warp: str) -> None:
    """A memoryless target: what it said behind a refused guess is what it says behind the right one."""
    forgetful = MarkovLM(LM.logits_UVV[:1, :1].expand_as(LM.logits_UVV))
    state = decoder(forgetful, WARPS[warp], 4).start(PROMPT, NOISE)
    accepted = []
    for _ in range(4):
        before = state.drafting.rows_B
        state, step = decoder(forgetful, WARPS[warp], 4).step(state)
        accepted.append((step.drafted_BC.sum(-1) >= before).all())
    assert all(accepted)


def test_a_real_model_is_refined_too() -> None:
    last = generate(decoder(llama(), greedy(), 6), PROMPT, NOISE, [Stopping(40)] * 2)
    plain = generate(Autoregressive(llama(), greedy(), Unconstrained()), PROMPT, NOISE, [Stopping(40)] * 2)
    assert [o.tokens for o in last.outputs] == [o.tokens for o in plain.outputs]


def test_a_window_starts_as_copies_of_the_last_token_and_slides() -> None:
    drafter, warp = Jacobi(), greedy()
    context, prefill = LM.start(PROMPT)
    state = drafter.start(PROMPT, prefill)
    first = drafter.draft(state, DraftShape(3), warp, NOISE, context)
    assert first.tokens_BN.tolist() == [[4, 4, 4], [1, 1, 1]]
    scores = Scores(torch.eye(12)[torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]])])
    verdict = Verdict.of_chain(first.tokens_BN, torch.tensor([0, 2]), torch.tensor([5, 11]))
    state = drafter.observe(state, first, verdict, scores)
    second = drafter.draft(state, DraftShape(4), warp, NOISE.advance(verdict.committed_B), context)
    assert second.tokens_BN.tolist() == [[6, 7, 8, 8], [0, 0, 0, 0]]
    assert drafter.draft(state, DraftShape(4, budget=1), warp, NOISE, context).tokens_BN.tolist() == [[6], [0]]


def test_windows_of_two_widths_join() -> None:
    one = JacobiState(torch.tensor([1]), torch.ones(1, 2, 3), torch.tensor([2]))
    two = JacobiState(torch.tensor([2]), torch.full((1, 4, 3), 2.0), torch.tensor([4]))
    both = join_rows(one, two)
    assert both.logits_BNV.shape == (2, 4, 3)
    assert both.rows_B.tolist() == [2, 4]
    back = select_rows(both, torch.tensor([1]))
    assert torch.equal(back.logits_BNV, two.logits_BNV)
