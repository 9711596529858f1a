"""How many tokens does a target call buy with a draft of another tokenizer?

    python benchmarks/cross_vocabulary.py [--minutes 25] [--train-only] [--limit 30] [--quick]

First it trains such a draft for house:target, unless one of as many minutes lies in $DECANT_HOME/cross-vocabulary
(default ~/.cache/decant): the body of house:draft with a vocabulary of 2,048 entries, split as Qwen2 splits, whose
embeddings start as the mean of what house:draft's tokenizer makes of each entry. Killed, it goes on where it stopped.
Then plain decoding, draft-model with house:draft (the same tokenizer), shared-vocabulary and omnidraft decode the
held-out house:tasks greedily, one request at a time.

Left out: seconds (a draft this small costs little, its bridge is Python), sampling, batches above 1.
Source of the start: Gee et al. 2022, arXiv:2402.09977 (fast vocabulary transfer).
"""

import argparse
import os
import random
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from decant.apps.prompts import encode, read
from decant.bench.study import begin, heading, options, save
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.decoders.workload import Workload
from decant.distill.trainer import Settings, train
from decant.drafters.draft_model import DraftModel
from decant.drafters.omnidraft import OmniDraft
from decant.drafters.shared_vocabulary import SharedVocabulary
from decant.house import corpus, folder, tasks, tokenizer
from decant.house.mixture import Mixture, Phase, encode_code
from decant.models import build as models
from decant.models.load import load
from decant.models.spelling import between
from decant.policies.fixed import Fixed
from decant.samplers.greedy import greedy
from decant.verifiers.coupled import Coupled

VOCAB: Final = 2048
WANTED: Final = 1.3  # tokens a call
ROWS, LENGTH = 8, 512
STEPS_A_MINUTE: Final = 60  # of ROWS * LENGTH tokens, by one thread of a machine that is busy otherwise
SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def prepare(shop: Path) -> tuple[Tokenizer, np.ndarray]:
    """The other tokenizer, byte-level BPE of Qwen2's kind on the house's texts, and the training code in it."""
    words_file, code_file = shop / "tokenizer.json", shop / "code.npy"
    if not code_file.exists():
        shop.mkdir(parents=True, exist_ok=True)
        rng, texts = random.Random(0), [document.text for document in corpus.documents(held_out=False)]
        drawn = (tasks.draw_any(rng, corpus.functions(held_out=False)) for _ in range(4000))
        words = tokenizer.train([*texts, *(tokenizer.chat(one.prompt) + one.answer for one in drawn)], VOCAB, SPLIT)
        words.save(str(words_file))
        np.save(code_file.with_suffix(".part.npy"), encode_code(words, texts))
        os.replace(code_file.with_suffix(".part.npy"), code_file)
    return Tokenizer.from_file(str(words_file)), np.load(code_file)


@torch.no_grad()
def transferred(words: Tokenizer) -> models.Llama:
    """house:draft with the other vocabulary; an entry starts as the mean of its pieces."""
    old = models.load_folder(folder("draft"))
    old_words = Tokenizer.from_file(str(folder("draft") / "tokenizer.json"))
    spec = models.LlamaSpec(VOCAB, 96, 2, 3, 3, 192, eos=tuple(tokenizer.ids(words, tokenizer.END)), pad=4)
    model = models.untrained(spec)
    table_VD = old.model.embed_tokens.weight
    body = {name: weight for name, weight in old.state_dict().items() if weight.shape[0] != len(table_VD)}
    model.load_state_dict(body, strict=False)
    for token in range(VOCAB):
        text = words.decode([token], skip_special_tokens=False)
        model.model.embed_tokens.weight[token] = table_VD[old_words.encode(text).ids].mean(0)
    return model


def trained(minutes: float, shop: Path) -> Path:
    """The model folder of the draft, finished."""
    words, code = prepare(shop)
    out = shop / f"{minutes:g}-minutes"
    if (out / "draft" / "model.safetensors").exists():
        return out / "draft"
    model = transferred(words)
    steps = max(round(minutes * STEPS_A_MINUTE), 4)
    mixture = Mixture(words, code, corpus.functions(held_out=False), [Phase(steps, ROWS, LENGTH)], seed=7)

    def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        with models.mixed_precision(ids_BT.device):
            return models.next_token_nats(model, ids_BT, weights_BT)

    train(model, loss, mixture.batch, Settings(steps, 3e-3, warmup=min(20, steps // 4), decay=0.5, save_every=100), out)
    tokenizer.write_folder(words, out / "draft")
    models.save_folder(model, out / "draft")
    return out / "draft"


def compared(draft_folder: Path, chosen: argparse.Namespace) -> dict[str, dict]:
    """Every method on the same prompts."""
    target, same, other = load("house:target"), load("house:draft", exact="off"), load(str(draft_folder), exact="off")
    workload = Workload(
        encode(read("house:tasks", chosen.limit), target, chosen.max_tokens), chosen.max_tokens, ends=target.ends
    )
    bridge = between(target, other)
    print(f"shared: {bridge.tokens.size:,} of {target.model.vocab:,} tokens; pairs: {len(bridge.pairs.merged_P):,}")
    drafters = {
        "draft-model, the same tokenizer": DraftModel(same.model),
        "shared-vocabulary": SharedVocabulary(other.model, bridge),
        "omnidraft": OmniDraft(other.model, bridge),
    }
    pace, rest = Fixed(chosen.depth), (greedy(), Unconstrained())
    decoders = {"plain": Autoregressive(target.model, *rest)}
    decoders |= {name: Speculative(target.model, one, Coupled(), pace, *rest) for name, one in drafters.items()}
    found, plain = {}, []
    for name, decoder in decoders.items():
        turns = [group.decode(decoder) for group in workload.groups()]
        texts = [turn.outputs[0].tokens for turn in turns]
        plain = plain or texts
        row = {"tokens": sum(map(len, texts)), "calls": sum(turn.steps for turn in turns)}
        row |= {"tokens_per_call": row["tokens"] / row["calls"], "same_texts": sum(map(list.__eq__, texts, plain))}
        print(f"{name:<32} {row['tokens_per_call']:.2f} tokens a call, {row['same_texts']}/{len(texts)} texts as plain")
        found[name] = row
    return found


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--minutes", type=float, default=25, help="of training, roughly; scales its steps")
    parser.add_argument("--train-only", action="store_true", help="stop when the draft is trained")
    parser.add_argument("--limit", type=int, default=30, help="prompts")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--depth", type=int, default=5, help="guesses a draft")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.minutes, chosen.limit, chosen.max_tokens = 0.1, 2, 12
    return chosen


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant")) / "cross-vocabulary"
    draft_folder = trained(chosen.minutes, home)
    if not chosen.train_only:
        rows = compared(draft_folder, chosen)
        least = min(rows[name]["tokens_per_call"] for name in ("shared-vocabulary", "omnidraft"))
        word = "met   " if least >= WANTED else "MISSED"
        print(f"{word}  the fewest tokens a call across vocabularies: {least:.2f} ({WANTED} wanted)")
        print(f"results: {save({'machine': facts, 'methods': rows, 'wanted': WANTED}, __file__, chosen)}")
