"""Nothing is lost where the draft has another tokenizer: neither with tables nor with caches."""

import pytest

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.omnidraft import OmniDraft
from decant.drafters.shared_vocabulary import SharedVocabulary
from decant.models.build import LlamaSpec, untrained
from decant.models.causal import Causal
from decant.models.padded import Padded
from decant.policies.fixed import Fixed
from decant.protocols import LanguageModel
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder, check_law
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection
from decant.vocab.bridge import Bridge
from decant.vocab.vocabulary import Vocabulary

TARGET = Vocabulary([b"a", b"b", b"cab", b"ab"])
DRAFT = Vocabulary([b"d", b"c", b"a", b"b", b"bc"])
BRIDGE = Bridge.between(TARGET, DRAFT, (4, 5))
LM = MarkovLM.random(vocab=4, seed=0)
SPEC = LlamaSpec(vocab=5, hidden=16, layers=2, heads=2, kv_heads=1, intermediate=32, head_dim=8, positions=128)
DRAFTS: dict[str, LanguageModel] = {
    "table": MarkovLM.random(vocab=5, seed=1),
    "network": Causal.over(Padded.of(untrained(SPEC).eval(), 128, None)),
}
WARPS = {"greedy": greedy(), "sampled": temperature(0.8)}
FREE = Unconstrained()


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("drafter", [SharedVocabulary, OmniDraft])
def test_the_text_is_that_of_plain_decoding(drafter, draft: str, warp: str) -> None:
    decoder = Speculative(LM, drafter(DRAFTS[draft], BRIDGE), Coupled(), Fixed(3), WARPS[warp], FREE)
    check_decoder(decoder, Autoregressive(LM, WARPS[warp], FREE), max_tokens=10)


@pytest.mark.parametrize("drafter", [SharedVocabulary, OmniDraft])
def test_the_law_is_that_of_plain_decoding(drafter) -> None:
    guesser = drafter(DRAFTS["table"], BRIDGE, coupled=False)
    check_law(Speculative(LM, guesser, Rejection(), Fixed(2), WARPS["sampled"], FREE), LM, WARPS["sampled"])
