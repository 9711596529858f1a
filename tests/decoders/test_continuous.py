"""Continuous batching over a real cache: joining, leaving, waiting, chunks of prompts, memory."""

from dataclasses import replace

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.continuous import MEGABYTE, Continuous, Request
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.drafters.draft_model import DraftModel
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.token_recycling import TokenRecycling
from decant.errors import BadInput
from decant.models.causal import CHUNK
from decant.models.fast.lean import Lean
from decant.models.load import load
from decant.models.loaded import Loaded
from decant.models.prefixes import Prefixes
from decant.policies.fixed import Fixed
from decant.samplers.temperature import temperature
from decant.testing.laws import check_continuous
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled
from tests.models.families import VOCAB, build

WAYS = ("float32", "bfloat16", "float32/transformers")


@pytest.fixture(scope="module", params=WAYS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("continuous")
    network = build("llama")
    network.config.max_position_embeddings = 1024
    network.save_pretrained(folder)
    dtype, _, way = request.param.partition("/")
    return load(str(folder), dtype=dtype, exact="on", lean=not way)


def decoders(model):
    warp = temperature(1.0)
    yield Autoregressive(model, warp, Unconstrained())
    for drafter in (PromptLookup(), TokenRecycling(), DraftModel(model)):
        yield Speculative(model, drafter, Coupled(), Fixed(3), warp, Unconstrained())


def asked(count: int, longest: int) -> list[tuple[list[int], int, int]]:
    rng = torch.Generator().manual_seed(count)
    lengths = torch.randint(1, longest, (count,), generator=rng).tolist()
    prompts = [torch.randint(0, VOCAB, (length,), generator=rng).tolist() for length in lengths]
    tokens = torch.randint(1, 24, (count,), generator=rng).tolist()
    return [(prompt, seed, more) for seed, (prompt, more) in enumerate(zip(prompts, tokens, strict=True))]


def test_a_request_says_the_same_in_company(loaded):
    for decoder in decoders(loaded.model):
        check_continuous(decoder, asked=asked(7, 90), batch=4)


def drained(crank: Continuous, requests: list[Request]) -> list[list[int]]:
    for request in requests:
        crank.add(request)
    while crank.running or crank.waiting:
        crank.step()
    return [request.output.tokens for request in requests]


def requests_of(many) -> list[Request]:
    return [Request(prompt, seed, Stopping(tokens)) for prompt, seed, tokens in many]


def test_prompts_that_begin_alike_share_chunks_and_say_the_same(loaded, monkeypatch):
    beginning = torch.randint(0, VOCAB, (CHUNK + 9,), generator=torch.Generator().manual_seed(5)).tolist()
    many = [(beginning + prompt, seed, tokens) for prompt, seed, tokens in asked(4, 12)]
    for plain, sharing in zip(
        decoders(loaded.model), decoders(replace(loaded.model, prefixes=Prefixes(64))), strict=True
    ):
        want = drained(Continuous(plain, batch=3), requests_of(many))
        assert drained(Continuous(sharing, batch=3), requests_of(many)) == want
        prefixes = sharing.target.prefixes
        if isinstance(loaded.model.network, Lean):
            assert prefixes.hits >= 3
            assert prefixes.misses >= 1


def test_a_long_prompt_is_read_between_steps(loaded):
    """While it is read, the request that runs goes on: a step for every chunk."""
    if not loaded.model.network.keeps_chunks:
        sharing = replace(loaded.model, prefixes=Prefixes(64))
        assert sharing.prepare(torch.ones(1, 3 * CHUNK + 2, dtype=torch.int64)), "it is read whole, at once"
        return
    for number, decoder in enumerate(decoders(replace(loaded.model, prefixes=Prefixes(64)))):
        crank = Continuous(decoder, batch=2)
        short = Request([1, 2, 3], 0, Stopping(60))
        long = Request([number] * (3 * CHUNK + 2), 1, Stopping(3))  # new to the chunks that are shared
        crank.add(short)
        crank.step()
        crank.add(long)
        said = []
        while long not in crank.running and long.output.reason is None:
            crank.step()
            said.append(len(short.output.tokens))
        assert len(said) >= 3, "the prompt was read at once"
        assert said == sorted(set(said)), "the other request stood still"


def test_a_prompt_of_one_token_joins_others(loaded):
    for decoder in decoders(loaded.model):
        for many in ([([5, 6, 7], 0, 6), ([5], 1, 6)], [([5], 1, 6), ([7], 2, 3), ([5, 6, 7], 0, 6)]):
            alone = [drained(Continuous(decoder, batch=1), requests_of([one]))[0] for one in many]
            assert drained(Continuous(decoder, batch=4), requests_of(many)) == alone


def test_requests_wait_for_the_cache_and_one_that_never_fits_is_refused(loaded):
    decoder = Autoregressive(loaded.model, temperature(1.0), Unconstrained())
    one = decoder.cache_bytes([40]) / MEGABYTE
    crank = Continuous(decoder, batch=8, megabytes=2 * one)
    many = requests_of([(prompt[:20], seed, 10) for prompt, seed, _ in asked(5, 30)])
    for request in many:
        crank.add(request)
    most = 0
    while crank.running or crank.waiting:
        crank.step()
        most = max(most, len(crank.running))
    assert most == 2
    assert all(request.output.reason == "length" for request in many)
    with pytest.raises(BadInput, match=r"900 prompt tokens and up to 70 new ones needs .* MB of cache, and there are"):
        Continuous(decoder, batch=8, megabytes=one).add(Request([1] * 900, 0, Stopping(70)))


def test_the_cache_is_never_larger_than_what_was_counted(loaded):
    """The promise behind the budget: bytes that lanes hold, at any step, against bytes that were reserved."""
    if not isinstance(loaded.model.network, Lean):
        pytest.skip("the grid of transformers' models is counted as a whole")
    decoder = next(iter(decoders(loaded.model)))
    crank = Continuous(decoder, batch=4)
    for request in requests_of(asked(9, 120)):
        crank.add(request)
    while crank.running or crank.waiting:
        crank.step()
        if crank.running:
            held = sum(lane.rows_L2KSW.nbytes for lane in crank._state.context.cache.lanes)
            assert held <= decoder.cache_bytes([request.tokens for request in crank.running])


def test_a_batch_needs_room_for_one():
    with pytest.raises(BadInput, match="batch is 1 or more, got 0"):
        Continuous(None, batch=0)  # type: ignore[arg-type]


def test_what_a_request_taught_the_next_one_starts_with() -> None:
    """The same request again takes fewer steps, though nobody ran when it came; its text is the same."""
    model = MarkovLM.random(vocab=29, seed=0)
    decoder = Speculative(model, TokenRecycling(), Coupled(), Fixed(4), temperature(1.0), Unconstrained())
    crank, steps = Continuous(decoder, batch=1), []
    requests = [Request([1, 2, 3], 5, Stopping(24)) for _ in range(2)]
    for request in requests:
        crank.add(request)
        steps.append(0)
        while request.output.reason is None:
            crank.step()
            steps[-1] += 1
    assert steps[1] < steps[0]
    assert requests[0].output.tokens == requests[1].output.tokens
    assert (crank.taught.drafting.followers.ids_VK != -1).any()
