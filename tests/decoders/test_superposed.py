"""Superposed decoding obeys its card: one row for all drafts, n-grams that tell them apart."""

import math
from dataclasses import dataclass, field

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import generate, right_pad
from decant.decoders.ngrams import NGrams, blended
from decant.decoders.stopping import Stopping
from decant.decoders.superposed import WEIGHTS, Superposed
from decant.errors import BadInput
from decant.models.superposed import Superposed as Mixer
from decant.noise import Noise
from decant.numerics import append
from decant.samplers.greedy import greedy
from decant.testing.laws import check_continuous
from decant.types import PAD, Step
from tests.decoders.checks import PROMPTS, SEEDS, alone_or_together, like_fresh, run, texts

TABLE_VV = 2 * torch.randn(12, 12, generator=torch.Generator().manual_seed(0))
PLAIN = {"drafts": 1, "alpha": 0.0}


@dataclass(frozen=True)
class Toy:
    """The logits behind a mixture are the mixture of the logits behind each token; remembers what it was fed with."""

    vocab: int = 12
    fed: list = field(default_factory=list)

    def start(self, prompt_BT):
        return prompt_BT

    def root(self, context):
        last_B1 = context.gather(1, (context != PAD).sum(-1, keepdim=True) - 1)
        return TABLE_VV[last_B1[:, 0]]

    def mixed(self, context, tokens_BK, weights_BK):
        self.fed.append((tokens_BK, weights_BK))
        return context, (weights_BK[..., None] * TABLE_VV[tokens_BK]).sum(1)

    def commit(self, context, tokens_BC):
        return append(context, tokens_BC)

    def tokens(self, context):
        return context


def by_hand(text: list[int], drafts: int, length: int, alpha: float, ends=frozenset()) -> tuple[list[int], list]:
    """The card in plain Python: the best draft, and all (score, draft) that still run."""
    alive, over, logits_V = [(0.0, [])], [], TABLE_VV[text[-1]]
    for at in range(length):
        logp_W, ids_W = (logits_V / 0.06).log_softmax(-1).topk(9)
        logp = dict(zip(ids_W.tolist(), logp_W.log_softmax(-1).tolist(), strict=True))
        pairs = []
        for score, draft in alive:
            grams = {}
            for token in logp:
                grams[token] = 0.0
                for size in range(1, 6):
                    tail = (text + draft)[-size:]
                    follow = [text[i] for i in range(size, len(text)) if text[i - size : i] == tail]
                    if len(tail) == size and follow:
                        grams[token] += WEIGHTS[size - 1] * follow.count(token) / len(follow)
            for token, nats in logp.items():
                if at and alpha:
                    ngram = math.log(grams[token]) if grams[token] else -math.inf
                    nats = (1 - alpha) * nats + (alpha * ngram if any(grams.values()) else -200)
                pairs.append((score + nats, [*draft, token]))
        pairs.sort(key=lambda pair: -pair[0])
        if pairs[0][1][-1] in ends:
            return pairs[0][1], over
        over += [pair for pair in pairs[: 2 * drafts] if pair[1][-1] in ends]
        alive = [pair for pair in pairs if pair[1][-1] not in ends][:drafts]
        weights = torch.tensor([score for score, _ in alive]).softmax(-1)
        logits_V = sum(w * TABLE_VV[draft[-1]] for w, (_, draft) in zip(weights, alive, strict=True))
    return alive[0][1], sorted(over + alive, key=lambda pair: -pair[0])


@torch.inference_mode()
def told(decoder: Superposed, prompts: list[list[int]], steps: int = 1) -> Step:
    """The last of some steps."""
    state = decoder.start(right_pad(prompts), Noise.of(SEEDS[: len(prompts)]))
    for _ in range(steps):
        state, step = decoder.step(state)
    return step


@pytest.mark.parametrize("alpha", [0.0, 0.54, 0.9])
@pytest.mark.parametrize("drafts", [1, 2, 4])
def test_it_is_the_card_draft_by_draft(drafts: int, alpha: float) -> None:
    prompts = [[0, 1, 2, 0, 1, 3, 0, 1], [3, 1], [2, 5, 2, 5, 6, 2, 5, 2]]
    _, held, _ = run(Superposed(Toy(), drafts, 6, alpha), prompts, 1)
    step = told(Superposed(Toy(), drafts, 6, alpha), prompts)
    for request, prompt in enumerate(prompts):
        best, ranked = by_hand(prompt, drafts, 6, alpha)
        assert held[request] == prompt + best
        # Six tokens: drafts that only swap two tokens of one law would be tied.
        assert step.drafts_BKL[request].tolist() == [draft for _, draft in ranked]
        torch.testing.assert_close(step.worth_BK[request], torch.tensor([score for score, _ in ranked]))
        assert len({tuple(draft) for _, draft in ranked}) == drafts


@pytest.mark.parametrize("ends", [{2}, {4, 5}, {11, 0, 6}])
def test_the_best_draft_ends_the_text_and_others_leave_the_search(ends: set[int]) -> None:
    ended = 0
    for prompt in ([0, 1, 2, 0, 1, 3, 0, 1], [3, 1], [2, 5, 2, 5, 6, 2, 5, 2], [7], [9, 8]):
        decoder = Superposed(Toy(), 3, 8, ends=frozenset(ends))
        _, held, _ = run(decoder, [prompt], 1)
        best, _ = by_hand(prompt, 3, 8, 0.54, ends)
        assert held[0] == prompt + best
        ended += best[-1] in ends
        assert not ends & set(best[:-1])
    assert ended, "some draft ends"


def test_weights_sum_to_one_and_alike_drafts_count_twice() -> None:
    toy = Toy()
    run(Superposed(toy, 3, 8), PROMPTS, 2)
    for _, weights_BK in toy.fed:
        torch.testing.assert_close(weights_BK.sum(-1), torch.ones(3))
        assert (weights_BK.diff(dim=-1) <= 0).all(), "the best draft weighs most"


def test_without_n_grams_all_drafts_share_their_scores() -> None:
    """Each then prefers the same tokens in the same order: the best draft's ranks say it all."""
    _, held, _ = run(Superposed(Toy(), 3, 8, alpha=0.0), [[3, 1]], 1)
    step = told(Superposed(Toy(), 3, 8, alpha=0.54), [[3, 1]])
    assert step.drafts_BKL[0, 0].tolist() == held[0][2:], "no n-gram of this prompt applies"
    assert step.worth_BK[0, 0] < -200 * 7, "and every token pays for it"


def test_n_grams_of_a_corpus_change_the_text() -> None:
    prompt = [[3, 1]]
    _, without, _ = run(Superposed(Toy(), 3, 6), prompt, 1)
    likely = TABLE_VV[without[0][2]].topk(3).indices.tolist()
    corpus = NGrams.of([[without[0][2], likely[2]] * 3])
    _, held, _ = run(Superposed(Toy(), 3, 6, 0.9, temperature=1.0, grams=corpus), prompt, 1)
    assert held[0] != without[0]


def test_blended_n_grams() -> None:
    table = NGrams.of([[1, 2, 3, 1, 2, 4], [2, 3]])
    assert blended([table], [9, 1, 2], [3, 4, 5], (0.1, 1.0)) == pytest.approx([0.1 * 2 / 3 + 0.5, 0.1 / 3 + 0.5, 0])
    assert blended([table, NGrams.of([[2, 5]])], [2], [5], (1.0,)) == [0.25]
    assert blended([table], [], [1], (1.0,)) == [0.0]


@pytest.mark.parametrize("network", ["lean", "padded"])
def test_one_draft_without_n_grams_is_greedy_decoding(pair, padded, network: str) -> None:
    model = pair[0] if network == "lean" else padded
    plain = Autoregressive(model, greedy(), Unconstrained())
    assert texts(Superposed(Mixer(model), length=7, **PLAIN)) == texts(plain)


def test_greedy_decoding_ends_where_it_ends(pair) -> None:
    said = texts(Autoregressive(pair[0], greedy(), Unconstrained()))
    end = said[0][10]
    decoder = Superposed(Mixer(pair[0]), length=16, ends=frozenset({end}), **PLAIN)
    _, held, _ = run(decoder, PROMPTS[:1], 1)
    assert held[0] == PROMPTS[0] + Stopping(16, frozenset({end})).cut(said[0])[0]


def test_a_batch_is_its_requests(pair) -> None:
    alone_or_together(Superposed(Mixer(pair[0]), length=7), most=30)


def test_mixed_rows_leave_nothing_behind(pair) -> None:
    state, held, _ = run(Superposed(Mixer(pair[0]), length=5), PROMPTS, 3)
    like_fresh(pair[0], state.context.context, held)
    assert state.noise.root_B.tolist() == [15, 15, 15]


def test_there_are_several_drafts_of_a_real_model(pair) -> None:
    step = told(Superposed(Mixer(pair[0]), 4, 6, temperature=1.0), PROMPTS, 2)
    assert step.drafts_BKL.shape == (3, 4, 6)
    for drafts in step.drafts_BKL.tolist():
        assert len({tuple(draft) for draft in drafts}) == 4


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"drafts": 0}, "1 to keep=9 drafts"),
        ({"drafts": 10}, "1 to keep=9 drafts"),
        ({"length": 0}, "a length of at least 1"),
        ({"alpha": 1.0}, "an alpha in"),
        ({"temperature": 0.0}, "temperature above 0"),
        ({"drafts": 12, "keep": 20}, "12 drafts need more than 12 tokens"),
    ],
)
def test_impossible_knobs_are_refused(knobs, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Superposed(Toy(), **knobs)


def test_every_stretch_leaves_its_drafts(pair) -> None:
    decoder = Superposed(Mixer(pair[0]), 3, 5, temperature=1.0)
    turn = generate(decoder, right_pad(PROMPTS), Noise.of(SEEDS), [Stopping(12), Stopping(3), Stopping(12)])
    for output, stretches in zip(turn.outputs, (3, 1, 3), strict=True):
        assert [one.position for one in output.suggestions] == [at for at in range(0, 5 * stretches, 5) for _ in "abc"]
        for first in range(0, 3 * stretches, 3):
            best, *others = output.suggestions[first : first + 3]
            assert output.tokens[best.position :][:5] == best.tokens[: len(output.tokens) - best.position]
            assert best.score >= others[0].score >= others[1].score
            assert len({(*one.tokens,) for one in (best, *others)}) == 3


def test_requests_come_and_go(pair) -> None:
    check_continuous(Superposed(Mixer(pair[0]), length=2))
