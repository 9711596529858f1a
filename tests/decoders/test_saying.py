"""Log-probabilities: the model's own, and bit by bit those of plain decoding, whatever guessed."""

from dataclasses import replace

import pytest
import torch

from decant.decoders import saying
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.continuous import Continuous, Request
from decant.decoders.generate import Output, generate, right_pad
from decant.decoders.saying import Logprob, Logprobs, Suggestion, likeliest_ids, rows_of
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.fixed import Fixed
from decant.samplers.chain import chain
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.types import PAD, Draft, Step
from decant.verifiers.coupled import Coupled
from tests.decoders.checks import LM, PROMPTS, SEEDS, SMALL, Forbids

RAW, READY = Logprobs(3), Logprobs(6, processed=True)
WARP = chain(temperature(0.7), top_k(4))
STOPPING = [Stopping(25), Stopping(9), Stopping(30, frozenset({6}))]
BEHIND = Forbids(5)
GUESSERS = [PromptLookup(), TokenRecycling(), DraftModel(SMALL, coupled=True)]
SHAPES = [Fixed(4), Fixed(3, 2)]


def said(decoder) -> list[Output]:
    return generate(decoder, right_pad(PROMPTS), Noise.of(SEEDS), STOPPING).outputs


def plain(wanted: Logprobs | None) -> Autoregressive:
    return Autoregressive(LM, WARP, BEHIND, wanted)


def speculative(guesser, wanted: Logprobs | None, shape=SHAPES[0]) -> Speculative:
    return Speculative(LM, guesser, Coupled(), shape, WARP, BEHIND, wanted)


@torch.inference_mode()
def rows(prompt: list[int], tokens: list[int], wanted: Logprobs) -> torch.Tensor:
    """logp_CV of a text, asked for a token at a time."""
    found = []
    for at in range(len(tokens)):
        context, _ = LM.start(right_pad([prompt + tokens[:at]]))
        row_1V = LM.score(context, Draft.nothing(1)).logits_BMV[0]
        found.append(WARP(BEHIND.adjust(None, None, row_1V)) if wanted.processed else row_1V)
    return torch.cat(found).log_softmax(-1)


@pytest.mark.parametrize("wanted", [RAW, READY], ids=["raw", "processed"])
def test_they_are_the_models_own(wanted):
    for prompt, output in zip(PROMPTS, said(plain(wanted)), strict=True):
        logp_CV = rows(prompt, output.tokens, wanted)
        assert len(output.logprobs) == len(output.tokens) > 0
        for token, row_V, told in zip(output.tokens, logp_CV, output.logprobs, strict=True):
            assert told.logp == float(row_V[token])
            best = [(one, float(row_V[one])) for one in row_V.argsort(descending=True, stable=True).tolist()]
            assert told.top == tuple(pair for pair in best[: wanted.top] if pair[1] > -torch.inf)


@pytest.mark.parametrize("wanted", [RAW, READY], ids=["raw", "processed"])
@pytest.mark.parametrize("shape", SHAPES, ids=["chain", "tree"])
@pytest.mark.parametrize("guesser", GUESSERS, ids=lambda guesser: type(guesser).__name__)
def test_speculation_tells_what_plain_decoding_tells(guesser, shape, wanted):
    outputs = said(speculative(guesser, wanted, shape))
    assert outputs[0].drafted != [False] * len(outputs[0].tokens), "nothing was guessed, so nothing is tested"
    for one, other in zip(outputs, said(plain(wanted)), strict=True):
        assert (one.tokens, one.reason, one.logprobs) == (other.tokens, other.reason, other.logprobs)


def test_the_row_behind_the_token_in_place_of_the_one_in_front_is_noticed(monkeypatch):
    """The classic mistake: an accepted node's own row tells of the token that follows it."""
    right = said(speculative(GUESSERS[2], RAW))
    monkeypatch.setattr(saying, "along_path", lambda rows_BMX, nodes_BC: rows_BMX[:, : nodes_BC.shape[1]].roll(-1, 1))
    assert said(speculative(GUESSERS[2], RAW))[0].logprobs != right[0].logprobs


def test_nothing_is_told_where_nothing_was_asked():
    for decoder in (plain(None), speculative(GUESSERS[0], None)):
        state = decoder.start(right_pad(PROMPTS), Noise.of(SEEDS))
        _, step = decoder.step(state)
        assert (step.logp_BC, step.top_BCK, step.top_logp_BCK) == (None, None, None)
        assert said(decoder)[0].logprobs == []


def test_a_forbidden_token_is_never_among_the_likeliest():
    ready, raw = ([told for output in said(plain(one)) for told in output.logprobs] for one in (READY, Logprobs(6)))
    assert 5 not in {one for told in ready for one, _ in told.top}
    assert 5 in {one for told in raw for one, _ in told.top}
    assert {len(told.top) for told in ready} == {4}, "top_k leaves four"


def test_none_beside_the_chosen_one():
    assert all(told.top == () for output in said(plain(Logprobs())) for told in output.logprobs)


def test_requests_that_come_and_go_take_theirs_along():
    want = said(plain(RAW))
    crank = Continuous(speculative(GUESSERS[1], RAW), batch=2)
    requests = [Request(*given) for given in zip(PROMPTS, SEEDS, STOPPING, strict=True)]
    for request in requests:
        crank.add(request)
    while crank.running or crank.waiting:
        crank.step()
    assert [request.output.logprobs for request in requests] == [output.logprobs for output in want]


def test_of_equal_ones_the_smaller_id_comes_first():
    logp_XV = torch.tensor([[-1.0, -0.5, -1.0, -0.5, -torch.inf, 0.0], [-3.0, -3.0, -3.0, -3.0, -3.0, -3.0]])
    assert likeliest_ids(logp_XV, 6).tolist() == [[5, 1, 3, 0, 2, 4], [0, 1, 2, 3, 4, 5]]
    random_XV = torch.randn(5, 301, generator=torch.Generator().manual_seed(0))
    assert torch.equal(likeliest_ids(random_XV, 9), random_XV.topk(9).indices)


def test_a_text_that_is_cut_loses_theirs_too():
    output = Output([], [])
    output.extend(
        [1, 2, 3], [0, 1, 2], [True, True, False], [Logprob(-1.0), Logprob(-2.0), Logprob(-3.0)], [], Stopping(2)
    )
    assert output.logprobs == [Logprob(-1.0), Logprob(-2.0)]


def test_drafts_that_are_there_are_told_from_the_first_position_on():
    tokens_BC, positions_BC = torch.tensor([[3, 4], [PAD, PAD]]), torch.tensor([[7, 8], [PAD, PAD]])
    drafts_BKL = torch.tensor([[[3, 4], [5, PAD]], [[1, 1], [2, 2]]])
    worth_BK = torch.tensor([[-1.0, -torch.inf], [-1.0, -2.0]])
    step = Step(tokens_BC, positions_BC, tokens_BC == 0)
    assert [row[4] for row in rows_of(replace(step, drafts_BKL=drafts_BKL, worth_BK=worth_BK))] == [
        [Suggestion(7, [3, 4], -1.0)],
        [],
    ]
    assert [row[4] for row in rows_of(step)] == [[], []]


def test_a_draft_is_spelt_behind_what_was_said():
    spelt = Suggestion(2, [3, 4], -1.0).spelt([1, 2, 9, 9], lambda ids: "".join(f"<{one}>" for one in ids))
    assert spelt == Suggestion(2, [3, 4], -1.0, "<3><4>")


def test_a_negative_count_is_refused():
    with pytest.raises(BadInput, match=r"logprobs is 0 \(the chosen token alone\) or more, got -1"):
        Logprobs(-1)
