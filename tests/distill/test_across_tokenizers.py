"""Teachers with other tokenizers: which rows say a chunk, who can be asked what, and a student that learns."""

import random
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from decant.distill.chunks import Spans, said, sorted_l1
from decant.distill.composition import Asked, Composition, Learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.alm import ALM
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.gold import GOLD
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.objectives.uld import ULD
from decant.distill.rollouts.dataset import Dataset
from decant.distill.teachers.across import Across
from decant.distill.teachers.live import Live
from decant.distill.texts import Positions, Text, padded
from decant.distill.trainer import Settings, run
from decant.distill.weighting.uncertainty import Uncertainty
from decant.errors import BadInput, IncompatibleParts
from decant.models.build import LlamaSpec, untrained
from decant.models.spelling import vocabulary
from decant.models.teacher import Teacher
from decant.types import PAD
from decant.vocab.vocabulary import Vocabulary
from tests.distill.toys import LETTERS, ONE, OTHER, across, model, study_of, teacher, texts


def test_rows_of_chunks_by_hand() -> None:
    """ab|c| |ab|end beside (a|b|c)| a|b|end, where a, b and the first c have no weight."""
    text = Text([5, 3, 4, 5, 0], [0.0, 0.0, 1.0, 1.0, 1.0], 2)
    source = across(ONE, OTHER)
    batch = padded([Text.answer([1, 2, 1], 1), text], 99)
    signal = source.signal(batch, Positions.of(batch))
    assert source.crossing(text).ids == [2, 1, 0, 6, 1, 4]
    # Of row 0, a|ba: student rows 0, 1 say b, a. Row 1: " ab" is one chunk, rows 2, 3; the end row 4.
    chunks = signal.chunks
    assert chunks.row_C.tolist() == [0, 1, 1]
    assert chunks.control_C.tolist() == [False, False, True]
    assert [side.tolist() for side in (chunks.q.first_C, chunks.q.last_C, chunks.q.after_C)] == [
        [0, 2, 4], [1, 3, 4], [PAD, 4, PAD],
    ]  # fmt: skip
    # The teacher's positions: (0, 0), (0, 1) behind it, then (1, 2) ... (1, 5).
    assert [side.tolist() for side in (chunks.p.first_C, chunks.p.last_C, chunks.p.after_C)] == [
        [0, 2, 4], [0, 3, 4], [1, 4, 5],
    ]  # fmt: skip
    assert signal.label_M.tolist() == [5, 0, 6, 1, 4, 0]
    assert chunks.linked_C.tolist() == [False, False, True]


def test_a_chunk_without_weight_somewhere_or_with_nothing_before_it_does_not_count() -> None:
    source = across(ONE, OTHER)
    whole = Text([1, 2, 3, 2, 1, 3], [1.0] * 6)  # a b c b a c beside a b c ba c
    rows = [whole, replace(whole, weights=[1.0, 1.0, 0.0, 1.0, 0.0, 1.0])]
    batch = padded(rows, 99)
    at = Positions.of(batch)
    chunks = source.signal(batch, at).chunks
    spots = [(int(at.row_N[first]), int(at.at_N[first])) for first in chunks.q.first_C]
    assert spots == [(0, 0), (0, 1), (0, 2), (0, 4), (1, 0), (1, 4)]
    assert chunks.linked_C.tolist() == [False, True, True, True, False, False]


def test_the_answer_follows_the_teachers_own_prompt() -> None:
    source = across(ONE, OTHER, prompts=lambda ids: [4, 4, *reversed(ids)])
    text = Text.answer([1, 2, 1, 2, 0], 2)
    assert source.crossing(text).ids == [4, 4, 2, 1, 2, 1, 4]
    chunks = source.crossing(text).chunks
    assert [(span.first, span.other_first) for span in chunks] == [(2, 4), (3, 5), (4, 6)]
    batch = padded([text], 99)
    assert len(source.signal(batch, Positions.of(batch)).chunks) == 3


def test_a_batch_without_a_chunk_has_no_nats_and_its_gradient_is_zero() -> None:
    network = model(2, 7)
    last = study_of(padded([Text([5, 2], [0.0, 1.0])], 99), across(ONE, LETTERS), network)  # ab|b, and no more
    p, q = (states.logp(slice(1)).exp() for states in (last.signal.states, last.student))
    for objective in (GOLD(), ULD(), ULD(pairing="index")):
        torch.testing.assert_close(objective(last), sorted_l1(p, q))
    assert ALM()(last).tolist() == [0.0], "nobody knows how likely it is that the chunk ends there"
    assert ALM(threshold=None)(last).item() > 0
    for objective in (ALM(), GOLD(), ULD(), ULD(pairing="index")):
        empty_N = objective(study_of(padded([Text([6, 4, 4], [0.0, 0.0, 1.0])], 99), across(ONE, LETTERS), network))
        empty_N.sum().backward()
        assert empty_N.tolist() == [0.0]


def test_who_cannot_be_asked_is_refused() -> None:
    rows = Dataset(texts(ONE, b"abc "))
    learner = Learner(model(2, 7), [None])
    with pytest.raises(IncompatibleParts, match="ALM needs spans of a teacher, and Live gives"):
        Composition(learner, None, rows, (Asked(ALM()),), Live(teacher(7)))
    with pytest.raises(IncompatibleParts, match="Pointwise needs law of a teacher, and Across gives nothing, spans"):
        Composition(learner, None, rows, (Asked(Pointwise(ForwardKL())),), across(ONE, OTHER))
    with pytest.raises(IncompatibleParts, match="Uncertainty needs law of a teacher, and Across gives"):
        Composition(learner, None, rows, (Asked(ALM()),), across(ONE, OTHER), Uncertainty())
    with pytest.raises(BadInput, match="temperature and epsilon must be above 0"):
        ALM(temperature=0)
    with pytest.raises(BadInput, match="beta must lie between 0 and 1"):
        GOLD(beta=1.0)
    with pytest.raises(BadInput, match="matched is a share"):
        GOLD(matched=2.0)


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    parts = (["the cat", "a dog", "the old hen"], ["sees", "eats", "likes"], ["mice", "the rain", "bread"])
    return [" ".join(rng.choice(words) for words in parts) + "." for _ in range(count)]


def spelling(size: int, seed: int) -> tuple[PreTrainedTokenizerFast, Vocabulary]:
    """A byte-level BPE tokenizer, trained on the spot."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<end>"], show_progress=False)
    words.train_from_iterator(sentences(30, seed), trainer)
    found = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    return found, vocabulary(found)


def told(tokenizer: PreTrainedTokenizerFast, lines: list[str]) -> list[Text]:
    ends = tokenizer.eos_token_id
    return [Text.answer([ends, *tokenizer(line).input_ids, ends], 1, number) for number, line in enumerate(lines)]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A teacher that knows its sentences, and both tokenizers."""
    (mine, student), (its, other) = spelling(36, 1), spelling(60, 2)
    network = untrained(LlamaSpec(len(other.pieces), 32, 2, 2, 1, 48, head_dim=16), seed=1)
    rows = Dataset(told(its, sentences(16, 3)), rows=16)
    made = Composition(Learner(network, [None]), None, rows, (Asked(CrossEntropy()),))
    run(made.learner, made, Settings(60, peak=1e-2, warmup=5, quiet=True), tmp_path_factory.mktemp("teacher"))
    return Across.of(Teacher("toy", network.eval().requires_grad_(False)), student, other), mine


@pytest.mark.parametrize("objectives", [
    pytest.param((Asked(ALM()),), id="alm"),
    pytest.param((Asked(CrossEntropy(), 0.5), Asked(GOLD(hybrid=True), 0.5)), id="gold", marks=pytest.mark.slow),
    pytest.param((Asked(CrossEntropy(), 0.5), Asked(ULD(), 0.5)), id="uld", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_student_with_another_tokenizer_comes_closer(taught, objectives, tmp_path) -> None:
    """ALM by itself, without a single token of the text as a label."""
    source, mine = taught
    student = untrained(LlamaSpec(len(source.student.pieces), 32, 2, 2, 1, 48, head_dim=16), seed=5)
    unseen = padded(told(mine, sentences(12, 9)), 99)

    def apart() -> float:
        """The mean gap between the log-probabilities of a chunk, on sentences drawn anew."""
        with torch.no_grad():
            study = study_of(unseen, source, student)
            spans = study.signal
            assert isinstance(spans, Spans)
            q_N, _ = said(study.student, study.at.label_N, spans.shared.q_opens_O)
            return float((spans.chunks.q.total(q_N) - spans.chunks.p.total(spans.said()[0])).abs().mean())

    before = apart()
    learner = Learner(student, [None] * len(objectives))
    made = Composition(learner, None, Dataset(told(mine, sentences(16, 3)), rows=16), objectives, source)
    run(learner, made, Settings(100, peak=1e-2, warmup=5, quiet=True), tmp_path)
    assert apart() < 0.1 * before
