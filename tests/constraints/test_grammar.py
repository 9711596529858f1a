"""Structured output: masks against brute force, the law, texts against plain decoding, and what is refused."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from decant.apps.choosing import warp_of
from decant.apps.compose import compose, plain
from decant.apps.constraining import bound
from decant.apps.sampling import Sampling
from decant.constraints.grammar import Choice, Grammar, Json, Lark, Regex
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.generate import generate, right_pad
from decant.decoders.stopping import Stopping
from decant.errors import BadInput, IncompatibleParts, MissingExtra
from decant.models.load import load
from decant.noise import Noise
from decant.numerics import chain_parents
from decant.samplers.temperature import temperature
from decant.testing.laws import check_constraint
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, Scores, Verdict, select_rows
from decant.vocab.matching import Tokens
from decant.vocab.vocabulary import Vocabulary

pytest.importorskip("llguidance", reason="the extra [grammar] is not installed")

END = 3
SMALL = Tokens(Vocabulary([b"a", b"b", b"ba", None]), frozenset({END}), 4)
PIECES = [b"a", b"b", None, b"ab", b"ba", b"aa", b"c", b"{", b"}", b'"', b'{"', b":", b"1", b"23", b",", b"a", b"\xc3"]
TOYS = Tokens(Vocabulary(PIECES, {"<end>": 2}), frozenset({2}), 19)  # two logits that no token has
CHAIN = Draft(torch.tensor([[0, 1, 3], [2, 0, PAD], [0, 2, 1]]))
TREE = Draft(
    torch.tensor([[0, 1, 3, 1, 2], [2, 0, 1, PAD, 3], [0, 2, 0, 3, 2]]), torch.tensor([[PAD, PAD, 0, 1, 2]] * 3)
)
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
PROMPTS = ["Write a person as JSON. ", "def person():\n    return "]


@pytest.fixture(scope="module")
def house():
    return load("house:target", exact="off"), load("house:draft", exact="off")


def allowed(grammar: Grammar, draft: Draft, said: tuple[int, ...] = ()) -> list[set[int]]:
    """What may follow each row of one request's draft, behind what it said."""
    state = grammar.start(torch.zeros(1, 1, dtype=torch.int64))
    if said:
        state = grammar.observe(state, committed(said), Scores(torch.zeros(1, 1, grammar.tokens.vocab)))
    logits_BMV = torch.zeros(1, draft.tokens_BN.shape[1] + 1, grammar.tokens.vocab)
    finite_MV = grammar.adjust(state, draft, logits_BMV)[0] == 0
    return [set(row.nonzero().flatten().tolist()) for row in finite_MV]


def committed(said: tuple[int, ...]) -> Verdict:
    return Verdict(torch.tensor([said]), torch.full((1, len(said)), PAD))


def brute(grammar: Grammar, path: tuple[int, ...]) -> set[int]:
    """Every token that llguidance takes behind a path; of one spelling that is forced, that one."""
    matcher = grammar.blank.deep_copy()
    assert matcher.try_consume_tokens(list(path)) == len(path)
    taken = {token for token in range(grammar.tokens.vocab) if matcher.deep_copy().try_consume_tokens([token])}
    only = matcher.compute_ff_tokens()[:1]
    taken = taken & set(only) if only else taken
    return taken | (set(grammar.tokens.ends) if matcher.is_accepting() else set())


@pytest.mark.parametrize(
    "description",
    [
        Regex("(a|b|ab)*"),
        Regex("a(b|a)c?a*"),
        Lark('start: "a" start "b" | "c"'),
        Choice(["ab", "abc", "ba"]),
        Json({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}, compact=True),
    ],
    ids=str,
)
def test_masks_are_those_of_brute_force(description) -> None:
    grammar, generator = Grammar(description, TOYS), torch.Generator().manual_seed(0)
    some = sum(compare(grammar, grown(grammar, chain, generator)) for chain in (True, False) for _ in range(8))
    assert some > 40, "hardly a node was reached"


def grown(grammar: Grammar, chain: bool, generator: torch.Generator) -> Draft:
    """Twelve guesses of one request, most of which may come."""
    paths: list[tuple[int, ...] | None] = [()]
    tokens, parents = [], []
    for node in range(12):
        parent = node - 1 if chain else int(torch.randint(-1, node, (1,), generator=generator))
        above = paths[parent + 1]
        fit = sorted(brute(grammar, above) - {2}) if above is not None else []
        chosen = fit if fit and torch.rand(1, generator=generator) < 0.8 else range(len(PIECES))
        tokens.append(chosen[int(torch.randint(len(chosen), (1,), generator=generator))])
        parents.append(parent)
        paths.append((*above, tokens[-1]) if above is not None and tokens[-1] in fit else None)
    return Draft(torch.tensor([tokens]), None if chain else torch.tensor([parents]))


def compare(grammar: Grammar, draft: Draft) -> int:
    """How many rows behind the root were compared with brute force."""
    have = allowed(grammar, draft)
    parents = (chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN)[0].tolist()
    paths: list[tuple[int, ...] | None] = [()]
    for token, parent in zip(draft.tokens_BN[0].tolist(), parents, strict=True):
        above = paths[parent + 1]
        paths.append(None if above is None or token not in have[parent + 1] or token == 2 else (*above, token))
    for path, row in zip(paths, have, strict=True):
        assert path is None or row == brute(grammar, path), path
    return sum(path is not None for path in paths) - 1


@pytest.mark.parametrize("draft", [CHAIN, TREE, Draft.nothing(3)], ids=["chain", "tree", "nothing"])
@pytest.mark.parametrize(
    "description", [Regex("(a|b)*"), Regex("(a|ba)(b|ba)+a?"), Choice(["a", "ab", "bab"])], ids=str
)
def test_the_law_of_constraints(description, draft: Draft) -> None:
    check_constraint(Grammar(description, SMALL), torch.tensor([[0], [1], [2]]), draft, vocab=4)


def test_the_end_comes_once_the_text_is_whole_and_then_nothing_else() -> None:
    grammar = Grammar(Regex("ab?"), SMALL)
    assert allowed(grammar, Draft(torch.tensor([[0, END, 1]]))) == [{0}, {1, END}, {END}, {END}]
    assert allowed(grammar, Draft.nothing(1), (0, END, 1, 2)) == [{END}], "what was committed behind an end is not read"
    assert [grammar.whole(said) for said in ([0], [0, 1], [0, 1, END], [], [1], [0, 1, 1])] == [
        *[True] * 3,
        *[False] * 3,
    ]


def test_probes_absent_nodes_and_forbidden_paths_are_skipped() -> None:
    grammar, every = Grammar(Regex("ab+"), SMALL), {0, 1, 2, 3}
    draft = Draft(torch.tensor([[0, 1, 1, PAD, 99]]), torch.tensor([[PAD, 0, PAD, 0, 0]]))
    probed = replace(draft, probe_BN=torch.tensor([[False, False, False, False, True]]))
    assert allowed(grammar, probed) == [{0}, {1}, {1, END}, every, every, every]


def test_a_dead_end_hurts_no_other_branch() -> None:
    grammar = Grammar(Regex("a(c|b)"), Tokens(Vocabulary([b"a", b"b", b"aa", None]), frozenset({3}), 4))
    dead = Grammar(Regex("aac|ab"), Tokens(Vocabulary([b"a", b"b", b"aa", None]), frozenset({3}), 4))
    tree = Draft(torch.tensor([[2, 0, 1]]), torch.tensor([[PAD, PAD, 1]]))
    assert allowed(grammar, Draft(torch.tensor([[0]]))) == [{0}, {1}]
    assert allowed(dead, tree)[2:] == [{0, 1}, {3}]
    with pytest.raises(BadInput, match=r"no token of this model goes on where the regular expression 'aac\|ab' must"):
        allowed(dead, Draft.nothing(1), (2, 3))
    with pytest.raises(IncompatibleParts, match=r"token 1 was kept, which the regular expression 'aac\|ab' forbids"):
        allowed(dead, Draft.nothing(1), (1,))


def test_a_grammar_that_outgrows_its_reader_says_so() -> None:
    many = {f"p{number}": {"type": "string", "pattern": "^[a-z]{1,20}$"} for number in range(600)}
    letters = Tokens(Vocabulary([*(bytes([byte]) for byte in range(255)), None]), frozenset({255}), 256)
    grammar = Grammar(Json({"type": "object", "properties": many}), letters)
    with pytest.raises(BadInput, match=r"the JSON schema cannot be followed to its end: .*max is 2000.*simpler one"):
        allowed(grammar, Draft.nothing(1), tuple(b'{"p'))


def test_requests_that_were_one_go_their_own_ways() -> None:
    grammar = Grammar(Regex("(a|b){3}"), SMALL)
    state = select_rows(grammar.start(torch.zeros(1, 1)), torch.tensor([0, 0, 0]))
    verdict = Verdict(torch.tensor([[0, 1], [2, PAD], [1, 0]]), torch.full((3, 2), PAD))
    old, state = state, grammar.observe(state, verdict, Scores(torch.zeros(3, 1, 4)))
    assert len({id(place.reader) for place in state.of}) == 3
    assert grammar.forced(state, 5).shape == (3, 0)
    logits_BMV = grammar.adjust(old, Draft.nothing(3), torch.zeros(3, 1, 4))
    assert (logits_BMV == 0).sum(-1).flatten().tolist() == [3, 3, 3], "the old state is as it was"


def test_forced_tokens_are_all_that_may_come() -> None:
    grammar = Grammar(Regex("abcc(a|b)"), TOYS)
    [row] = grammar.forced(grammar.start(torch.zeros(1, 1)), 9).tolist()
    assert TOYS.vocabulary.bytes_of(row) == b"abcc"
    assert grammar.forced(grammar.start(torch.zeros(1, 1)), 1).tolist() == [row[:1]]
    rows = allowed(grammar, Draft(torch.tensor([row])))
    assert rows[:-1] == [{token} for token in row]


@pytest.mark.parametrize("description", [Regex("(a|b|ba){2,9}"), Lark('start: "b" start "b" | "a"')], ids=str)
def test_a_batch_says_what_its_requests_say_alone(description) -> None:
    target, grammar = MarkovLM.random(4, 5), Grammar(description, SMALL)
    decoder = Autoregressive(target, temperature(1.0), grammar)
    prompts, stopping = [[0, 1], [1], [2, 2, 0]], [Stopping(20, frozenset({END}))] * 3
    together = [one.tokens for one in generate(decoder, right_pad(prompts), Noise.of([1, 2, 3]), stopping).outputs]
    for request, prompt in enumerate(prompts):
        alone = generate(decoder, right_pad([prompt]), Noise.of([request + 1]), stopping[:1]).outputs[0]
        assert alone.tokens == together[request]
        assert alone.reason != "stop" or grammar.whole(alone.tokens)


@pytest.mark.parametrize(
    ("heat", "compact"), [(0.0, True), (1.0, True), (1.0, False)], ids=["greedy", "drawn", "spaced"]
)
def test_speculation_under_a_schema_says_what_plain_decoding_says(house, heat, compact) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="outputs are validated with jsonschema")
    target, draft = house
    grammar, warp = bound(Json(PERSON, compact=compact), target), warp_of(Sampling(temperature=heat))
    prompts = [target.encode(text) for text in (PROMPTS if compact else PROMPTS[:1])]
    stopping = [Stopping(40 if compact else 20, target.ends)] * len(prompts)

    def said(method):
        return generate(method.decoder, right_pad(prompts), Noise.of([1, 2][: len(prompts)]), stopping)

    want = said(plain(target, warp, grammar))
    finished = [one for one in want.outputs if one.reason == "stop"]
    assert finished or not compact, "no text was finished"
    for output in finished:
        jsonschema.validate(json.loads(target.decode(output.tokens)), PERSON)
        assert grammar.whole(output.tokens)
    for name in ("prompt-lookup", "token-recycling", "draft-model"):
        have = said(compose(name, target, draft, warp, constraint=grammar))
        assert [one.tokens for one in have.outputs] == [one.tokens for one in want.outputs], name
        assert not (compact and name == "prompt-lookup") or have.steps < want.steps, "what is forced is guessed"


def test_no_control_token_is_ever_inside_a_string(house) -> None:
    target, _ = house
    grammar = bound(Regex('"[^"]*"'), target)
    [quote] = grammar.tokens.vocabulary.spell([b'"'])[0]
    assert not allowed(grammar, Draft.nothing(1), (quote,))[0] & set(grammar.tokens.vocabulary.controls.values())
    assert bound(Regex("a"), target).tokens is grammar.tokens, "a model's tokens are read once"


@pytest.mark.parametrize(
    ("description", "said"),
    [
        (
            lambda: Regex("(ab"),
            r"the regular expression '\(ab' cannot be compiled: unclosed group; the syntax is that of",
        ),
        (lambda: Regex("(?=a)b"), "cannot be compiled: look-around, .* is not supported"),
        (
            lambda: Regex(r"[^\s\S]"),
            "no token of this model begins a text of the regular expression .*: nothing satisfies",
        ),
        (lambda: Regex("dog"), "tokenizer cannot spell 'dog', with which the regular expression 'dog' begins; use"),
        (
            lambda: Regex("d|e"),
            "no token of this model begins a text of .* or only what the tokenizer cannot spell; the",
        ),
        (
            lambda: Lark('start: "a" start'),
            "the Lark grammar never ends: only 'a{20}'... can begin it; give it a way out",
        ),
        (lambda: Lark("start: a b"), 'the Lark grammar cannot be compiled: .*unknown name: "a"'),
        (lambda: Json({"type": "integer", "minimum": 3, "maximum": 2}), r"minimum \(3\) is greater than maximum \(2\)"),
        (lambda: Json(False), "the JSON schema cannot be compiled: Unsatisfiable schema"),
        (lambda: Json({"not": {}}), 'Unimplemented keys: \\["not"\\]; leave out what llguidance does not know'),
        (lambda: Json('{"type": '), "the schema is no JSON .*; give a JSON object"),
        (lambda: Json("[1]"), "a JSON schema is an object, true or false, got"),
        (lambda: Choice([]), r"a choice needs a list of strings, at least one, got \[\]; give the strings"),
        (lambda: Choice("yes"), "a choice needs a list of strings, at least one, got 'yes'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(description, said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        Grammar(description(), TOYS)
    assert "\n" not in str(error.value)


def test_a_model_without_ends_or_llguidance_is_told_the_remedy(monkeypatch) -> None:
    with pytest.raises(BadInput, match="names no token that ends a text; put eos_token_id into"):
        Tokens(SMALL.vocabulary, frozenset(), 4)
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtra, match=r"llguidance is not installed: pip install 'decant\[grammar\]'"):
        Grammar(Regex("a"), SMALL)


def test_a_choice_may_hold_anything() -> None:
    strings = ['"a"\n', "ü", "", "a|b"]
    tokens = Tokens(Vocabulary([*(bytes([byte]) for byte in range(256)), None]), frozenset({256}), 257)
    grammar = Grammar(Choice(strings), tokens)
    assert all(grammar.whole(list(string.encode())) for string in strings)
    assert not grammar.whole(list(b"a"))
