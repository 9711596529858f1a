"""AdaDec obeys its card: it pauses where the entropy says so, and looks ahead before it goes on."""

import math
from dataclasses import replace

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.adadec import AdaDec, learnt_threshold, nats, surveyed
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import right_pad
from decant.errors import BadInput
from decant.samplers.greedy import greedy
from decant.testing.laws import check_continuous
from decant.testing.markov import MarkovLM
from tests.decoders.checks import LM, PROMPTS, Forbids, alone_or_together, like_fresh, run, texts

FREE = Unconstrained()
ROWS = replace(LM, trees=False)


def law(text: list[int], banned: int | None = None) -> torch.Tensor:
    """logp_V behind a text."""
    logits_V = LM.logits_UVV[text[-2] if len(text) > 1 else LM.vocab, text[-1]].clone()
    if banned is not None:
        logits_V[banned] = -math.inf
    return logits_V.log_softmax(-1)


def entropy(logp_V: torch.Tensor) -> float:
    return -sum(math.exp(logp) * logp for logp in logp_V.tolist() if logp > -math.inf)


def by_hand(
    prompt: list[int], most: int, theta: float, ends: frozenset[int], dynamic: bool, banned: int | None = None
) -> tuple[list[int], int]:
    """The card in plain Python, three candidates and four tokens ahead: the text, and how often it paused."""
    text, pauses = list(prompt), 0
    for _ in range(most):
        logp_V = law(text, banned)
        if entropy(logp_V) < theta:
            text.append(int(logp_V.argmax()))
            continue
        pauses += 1
        worth = {}
        for token in logp_V.topk(3).indices.tolist():
            path, each = [*text, token], [float(logp_V[token])]
            while len(each) < 5 and path[-1] not in ends:
                ahead_V = law(path, banned)
                if dynamic and entropy(ahead_V) < theta:
                    break
                each.append(float(ahead_V.max()))
                path.append(int(ahead_V.argmax()))
            worth[token] = sum(each) / len(each)
        text.append(max(worth, key=lambda token: worth[token]))
    return text[len(prompt) :], pauses


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("ends", [frozenset(), frozenset({3, 5})], ids=["endless", "ends"])
@pytest.mark.parametrize("theta", [0.0, 0.9, 1.3])
@pytest.mark.parametrize("lm", [LM, ROWS], ids=["trees", "rows"])
def test_it_is_the_card_token_by_token(lm: MarkovLM, theta: float, ends, dynamic: bool) -> None:
    decoder = AdaDec(lm, FREE, theta, length=4, dynamic=dynamic, ends=ends)
    state, held, _ = run(decoder, PROMPTS, 15)
    for request, prompt in enumerate(PROMPTS):
        text, pauses = by_hand(prompt, 15, theta, ends, dynamic)
        assert held[request] == prompt + text
        assert int(state.pauses_B[request]) == pauses


def test_it_differs_from_greedy_and_pauses_now_and_then() -> None:
    state, held, _ = run(AdaDec(LM, FREE, 1.0), PROMPTS, 15)
    assert 0 < int(state.pauses_B.sum()) < 45
    plain = texts(Autoregressive(LM, greedy(), FREE), most=15)
    assert held != [prompt + text for prompt, text in zip(PROMPTS, plain, strict=True)]


@pytest.mark.parametrize("knobs", [{"threshold": math.inf}, {"length": 0}, {"width": 1}])
def test_without_a_choice_it_is_greedy(knobs) -> None:
    assert texts(AdaDec(LM, FREE, **knobs)) == texts(Autoregressive(LM, greedy(), FREE))


@pytest.mark.parametrize("lm", [LM, ROWS], ids=["trees", "rows"])
def test_a_look_ahead_says_nothing_that_is_forbidden(lm: MarkovLM) -> None:
    for token in (6, 0):
        decoder = AdaDec(lm, Forbids(token), 0.5, length=4)
        want = [by_hand(prompt, 15, 0.5, frozenset(), False, token)[0] for prompt in PROMPTS]
        assert texts(decoder, most=15) == want


@pytest.mark.parametrize("trees", [True, False])
@pytest.mark.parametrize("network", ["lean", "padded"])
def test_looking_ahead_leaves_nothing_behind(pair, padded, network: str, trees: bool) -> None:
    model = replace(pair[0] if network == "lean" else padded, trees=trees)
    state, held, _ = run(AdaDec(model, FREE, 1.0), PROMPTS, 6)
    assert int(state.pauses_B.sum()) > 0
    like_fresh(model, state.context, held)


def test_a_batch_is_its_requests(pair) -> None:
    alone_or_together(AdaDec(LM, FREE))
    alone_or_together(AdaDec(ROWS, FREE), most=20)
    alone_or_together(AdaDec(pair[0], FREE), most=12)


def test_requests_come_and_go() -> None:
    check_continuous(AdaDec(LM, FREE))
    check_continuous(AdaDec(ROWS, FREE))


def test_a_survey_of_texts() -> None:
    rows = [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]]
    nats_X, right_X = surveyed(LM, right_pad(rows))
    laws = [(law(row[: at + 1]), row[at + 1]) for row in rows for at in range(len(row) - 1)]
    assert nats_X.tolist() == pytest.approx([entropy(logp_V) for logp_V, _ in laws])
    assert right_X.tolist() == [int(logp_V.argmax()) == token for logp_V, token in laws]
    torch.testing.assert_close(nats(torch.zeros(2, 8)), torch.full((2,), math.log(8)))


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_the_threshold_is_where_wrong_outweighs_right(share: float) -> None:
    """Wrong with probability sigmoid(4 (H - 1.7)), or a tenth of it: classes of one weight are told apart best at 1.7.
    Unweighted, a tenth would be called right everywhere. Fixed seed."""
    generator = torch.Generator().manual_seed(0)
    nats_X = 3.4 * torch.rand(8000, generator=generator)
    wrong_X = torch.rand(8000, generator=generator) < share * torch.sigmoid(4 * (nats_X - 1.7))
    assert learnt_threshold(nats_X, ~wrong_X) == pytest.approx(1.7, abs=0.35)


def test_classes_that_part_are_told_apart() -> None:
    nats_X = torch.linspace(0, 2, 101)
    assert 0.9 < learnt_threshold(nats_X, nats_X < 1) < 1.1


@pytest.mark.parametrize(
    ("right", "message"),
    [
        ([True] * 20, "20 tokens, but not right and wrong ones"),
        ([False] * 20, "20 tokens, but not right and wrong ones"),
        ([False] * 10 + [True] * 10, "no less often right where it is uncertain"),
    ],
)
def test_nothing_to_learn_is_refused(right: list[bool], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        learnt_threshold(torch.linspace(0, 2, 20), torch.tensor(right))


def test_copies_are_counted() -> None:
    assert AdaDec(LM, FREE).cache_bytes([10]) == 80
    assert AdaDec(ROWS, FREE).cache_bytes([10]) == 320
    assert AdaDec(LM, FREE).prepare(torch.tensor([[1, 2]]))


@pytest.mark.parametrize("knobs", [{"threshold": math.nan}, {"width": 0}, {"length": -1}])
def test_impossible_knobs_are_refused(knobs) -> None:
    with pytest.raises(BadInput, match="adadec needs a threshold in nats"):
        AdaDec(LM, FREE, **knobs)
