"""Nothing is lost with drafters that nobody trained: those that learn from texts, and from the target's own rows."""

from tempfile import TemporaryDirectory

import pytest

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.aded import Aded
from decant.drafters.draft_model import DraftModel
from decant.drafters.fused import Fused
from decant.drafters.jacobi import Jacobi
from decant.drafters.lookahead import Lookahead
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.retrieval import Datastore, Retrieval
from decant.drafters.speculative_jacobi import SpeculativeJacobi
from decant.drafters.suffix import Suffix
from decant.policies.fixed import Fixed
from decant.samplers.chain import chain
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.laws import check_decoder, check_law
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection
from decant.verifiers.tree_rejection import TreeRejection

LM = MarkovLM.random(vocab=4, seed=3)
SMALL = LM.blurred(seed=4)
DATASTORE = TemporaryDirectory()
Datastore.of([[1, 2, 3, 1, 2, 0], [0, 3, 0, 3, 1, 2, 3, 3], [2, 2, 1]]).write(DATASTORE.name)
DRAFTERS = {
    "jacobi": Jacobi(),
    "sjd": SpeculativeJacobi(),
    "sjd, coupled": SpeculativeJacobi("random", coupled=True),
    "lookahead": Lookahead(window=2, ngram=3, guesses=2),
    "aded": Aded(iterations=10),
    "suffix": Suffix(),
    "retrieval": Retrieval(DATASTORE.name, shortest=1),
    "fused": Fused(Suffix(), DraftModel(SMALL)),
    "fused, drawn": Fused(PromptLookup(), DraftModel(SMALL, coupled=False), top=2),
    "fused, of both kinds": Fused(Retrieval(DATASTORE.name, shortest=1), Lookahead(window=2, ngram=3)),
}
WARPS = {"greedy": greedy(), "T=1": temperature(1.0), "T=0.7, top 3": chain(temperature(0.7), top_k(3))}
POLICIES = [Fixed(depth=4), Fixed(depth=3, width=2, budget=7), Fixed(depth=0)]


def composed(drafter, verifier, policy, warp) -> Speculative:
    return Speculative(LM, drafter, verifier, policy, warp, Unconstrained())


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_the_same_seed_gives_the_same_text(drafter: str, policy, warp: str) -> None:
    plain = Autoregressive(LM, WARPS[warp], Unconstrained())
    check_decoder(composed(DRAFTERS[drafter], Coupled(), policy, WARPS[warp]), plain, max_tokens=10)


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_rejection_of_fixed_guesses_loses_nothing(drafter: str) -> None:
    plain = Autoregressive(LM, WARPS["greedy"], Unconstrained())
    check_decoder(composed(DRAFTERS[drafter], TreeRejection(), POLICIES[0], WARPS["greedy"]), plain, max_tokens=10)


@pytest.mark.parametrize(
    ("drafter", "verifier"),
    [("jacobi", Rejection()), ("lookahead", TreeRejection()), ("fused, drawn", TreeRejection())],
)
def test_sampled_decoding_follows_the_target(drafter: str, verifier) -> None:
    """Guesses drawn with the target's own noise, and a mixture of drawn and found ones: no number decides twice."""
    check_law(composed(DRAFTERS[drafter], verifier, Fixed(depth=2), WARPS["T=1"]), LM, WARPS["T=1"])
