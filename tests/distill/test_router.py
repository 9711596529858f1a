"""Labels say where a sentence parts, and a router learns them."""

from pathlib import Path

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.distill.answers import Answer
from decant.distill.router import BEST, Examples, Labelling, RouterCourse, sentence, strictly, teach, threshold
from decant.errors import BadInput
from decant.models.build import LlamaSpec, untrained
from decant.models.causal import Causal
from decant.models.load import load
from decant.samplers.greedy import greedy
from decant.testing.markov import MarkovLM

LETTERS = "ab.\n cdefgh"
LM = MarkovLM.random(vocab=len(LETTERS), seed=1)
SMALL = LM.blurred(seed=2, by=2.0)
PLAIN = Autoregressive(LM, greedy(), Unconstrained())


def decode(ids: list[int]) -> str:
    return "".join(LETTERS[token] for token in ids)


def greedily(model: MarkovLM, text: list[int]) -> int:
    return int(model.logits_UVV[text[-2], text[-1]].argmax())


def answer(prompt: list[int], count: int) -> Answer:
    ids = list(prompt)
    for _ in range(count):
        ids.append(greedily(LM, ids))
    return Answer(ids, len(prompt))


ANSWERS = [answer([0, 1], 20), answer([5, 6], 15), answer([9, 2], 20)]


def to_the_end(text: list[int], at: int) -> str:
    """What the target says behind text[:at], text[at:] first, up to the sentence's end."""
    text = list(text)
    while len(text) - at < 70 and not any(mark in decode(text[at:]) for mark in ("\n", ". ")):
        text.append(greedily(LM, text))
    return sentence(decode(text[at:]))


def test_labels_are_the_card_s() -> None:
    examples = Labelling(PLAIN, decode).examples(SMALL, ANSWERS, top=5)
    at = 0
    for one in ANSWERS:
        for place in range(one.start, len(one.ids)):
            before = one.ids[:place]
            token = greedily(SMALL, before)
            assert int(examples.tokens_N[at]) == token
            assert bool(examples.differs_N[at]) == (token != one.ids[place])
            theirs = to_the_end([*before, token], place)
            ours = sentence(decode(one.ids[place:]))
            assert bool(examples.elsewhere_N[at]) == (token != one.ids[place] and ours.split() != theirs.split())
            assert examples.hidden_ND[at].argmax() == (before[-1] - 1) % len(LETTERS), "the state that proposed it"
            best = SMALL.logits_UVV[before[-2], before[-1]].topk(5).values
            torch.testing.assert_close(examples.top_NK[at], best)
            at += 1
    assert at == len(examples) == 55
    assert 0 < int(examples.elsewhere_N.sum()) <= int(examples.differs_N.sum()) < 55


def test_a_judge_decides_and_is_asked_about_mismatches_alone() -> None:
    asked: list[tuple[str, str, str]] = []

    def never(before: str, targets: str, others: str) -> bool:
        asked.append((before, targets, others))
        return False

    examples = Labelling(PLAIN, decode, judge=never).examples(SMALL, ANSWERS, top=5)
    assert not examples.elsewhere_N.any()
    assert len(asked) == int(examples.differs_N.sum())
    assert all(decode(ANSWERS[0].ids).startswith(before) for before, _, _ in asked[:3])


def test_nothing_is_asked_of_the_target_behind_an_end() -> None:
    told: list[str] = []
    judge = Labelling(
        PLAIN, decode, frozenset(range(len(LETTERS))), lambda before, targets, others: told.append(others) or True
    )
    judge.examples(SMALL, ANSWERS[:1], top=5)
    assert told
    assert all(len(others) == 1 for others in told), "the token itself ends the text"


def test_sentences_and_the_strict_judge() -> None:
    assert sentence("It is 3.5 m. And") == "It is 3.5 m. "
    assert sentence("one\ntwo. ") == "one\n"
    assert sentence("no end") == "no end"
    assert not strictly("", "a  b\n", " a b")
    assert strictly("", "a b", "ab")


def test_texts_without_answers_are_refused() -> None:
    with pytest.raises(BadInput, match="none of 1 texts has an answer"):
        Labelling(PLAIN, decode).examples(SMALL, [Answer([1, 2], 2)])


@pytest.mark.parametrize(("recall", "wanted"), [(1.0, 0.2), (0.75, 0.3), (0.7, 0.3), (0.5, 0.6), (0.0, 0.9)])
def test_the_threshold_has_the_recall_and_the_fewest_false_alarms(recall: float, wanted: float) -> None:
    probs = torch.tensor([0.9, 0.8, 0.6, 0.3, 0.25, 0.2, 0.1])
    elsewhere = torch.tensor([True, False, True, True, False, True, False])
    found = threshold(probs, elsewhere, recall)
    assert found == pytest.approx(wanted)
    assert (probs[elsewhere] >= found).float().mean() >= recall


@pytest.fixture(scope="module")
def small() -> Causal:
    shape = LlamaSpec(vocab=61, hidden=16, layers=1, heads=1, kv_heads=1, intermediate=16, head_dim=16, positions=64)
    return load(untrained(shape), exact="off").model


def separable(count: int) -> Examples:
    """One in eight leads elsewhere: where the first coordinate of the state is large."""
    generator = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(count, 16, generator=generator)
    elsewhere_N = hidden_ND[:, 0] > 1.15
    tokens_N = torch.randint(61, (count,), generator=generator)
    top_NK = torch.randn(count, 6, generator=generator).sort(descending=True).values
    return Examples(hidden_ND, top_NK, tokens_N, elsewhere_N, elsewhere_N)


COURSE = RouterCourse(epochs=12, rate=3e-3, batch=64)


def test_a_router_learns_and_its_threshold_catches(small: Causal, tmp_path: Path) -> None:
    net = teach(small, separable(800), COURSE, tmp_path, blocks=2)
    assert not net.training
    fresh = separable(2000)
    with torch.no_grad():
        score_N = net(fresh.hidden_ND, small.network.embedded(fresh.tokens_N).float(), fresh.top_NK)
    sent_N = score_N.sigmoid() >= net.spec.threshold
    assert sent_N[fresh.elsewhere_N].float().mean() > 0.85, "most of what leads elsewhere is sent"
    assert sent_N[~fresh.elsewhere_N].float().mean() < 0.25, "and little else"


def test_the_same_seed_teaches_the_same_router(small: Causal, tmp_path: Path) -> None:
    nets = [
        teach(small, separable(300), RouterCourse(epochs=2, batch=64), tmp_path / str(run), blocks=1)
        for run in range(2)
    ]
    for one, two in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, two)
    assert nets[0].spec == nets[1].spec


def test_the_best_epoch_outlives_the_run(small: Causal, tmp_path: Path) -> None:
    course = RouterCourse(epochs=2, batch=64)
    net = teach(small, separable(300), course, tmp_path, blocks=1)
    kept = torch.load(tmp_path / BEST)
    assert torch.equal(kept["router"]["out.weight"], net.out.weight)
    kept["router"]["out.weight"] = torch.full_like(kept["router"]["out.weight"], 0.5)
    torch.save(kept, tmp_path / BEST)
    again = teach(small, separable(300), course, tmp_path, blocks=1)  # all its steps are done
    assert torch.equal(again.out.weight, kept["router"]["out.weight"])


def test_labels_of_one_kind_teach_nothing(small: Causal, tmp_path: Path) -> None:
    examples = separable(100)
    none = torch.zeros_like(examples.elsewhere_N)
    with pytest.raises(BadInput, match="0 of 90 tokens lead elsewhere"):
        teach(small, Examples(examples.hidden_ND, examples.top_NK, examples.tokens_N, none, none), COURSE, tmp_path)
