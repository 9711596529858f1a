"""Is plain decoding, the baseline of every ratio here, itself fast? Against `transformers.generate`.

    python benchmarks/plain_vs_transformers.py [--model FOLDER] [--widen 0.4B] [--dtype D] [--quick]

Same weights, dtype, threads, prompts and number of new tokens, greedily, one request; the two take turns. A ratio above
1 says that decant is faster. Models: house:target, house:target widened to 0.4B, stories260K (if DECANT_DATA holds it),
and --model. Prefill is inside both times, so prompts are short beside the text.

Left out: compiled or quantised decoding, which transformers offers and decant does not yet; batches above 1; other
engines.
"""

import copy
import os
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from decant.apps.compose import plain
from decant.apps.prompts import encode, read
from decant.bench.study import begin, heading, options, save, working_dtype
from decant.bench.timing import alternate, ratios, spread
from decant.decoders.workload import Workload
from decant.models.folder import HOUSE
from decant.models.load import DTYPES, load
from decant.models.widen import widen as enlarge
from decant.samplers.greedy import greedy

PROMPT_TOKENS = 48


def theirs(folder: str, dtype: str, widen: str | None) -> torch.nn.Module:
    """transformers' own model, as from_pretrained gives it."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype], use_safetensors=True).eval()
    return network if widen is None else enlarge(network, widen).eval()


def compare(name: str, folder: str, widen: str | None, prompts: list[str] | None, chosen) -> dict:
    loaded = load(name, dtype=chosen.dtype, widen=widen, device="cpu")
    network = theirs(folder, chosen.dtype, widen)
    settings = copy.deepcopy(network.generation_config)
    settings.update(max_new_tokens=chosen.max_tokens, do_sample=False, eos_token_id=None, max_length=None)
    settings.pad_token_id = 0
    ids = encode(read("house:code", chosen.limit), loaded) if prompts is None else list(map(loaded.encode, prompts))
    ids = [row[:PROMPT_TOKENS] for row in ids]
    work, method, said = Workload(ids, chosen.max_tokens), plain(loaded, greedy()), {}

    def ours() -> float:
        begin = time.perf_counter()
        said["decant"] = [output.tokens for _, outputs in work.decode(method.decoder) for output in outputs]
        return time.perf_counter() - begin

    def generated(row: list[int]) -> torch.Tensor:
        ids_1T = torch.tensor([row])
        return network.generate(inputs=ids_1T, attention_mask=torch.ones_like(ids_1T), generation_config=settings)

    def transformers_generate() -> float:
        begin = time.perf_counter()
        with torch.inference_mode():
            rows = [generated(row) for row in ids]
        seconds = time.perf_counter() - begin
        said["transformers"] = [row[0, len(prompt) :].tolist() for row, prompt in zip(rows, ids, strict=True)]
        return seconds

    seconds = alternate({"transformers": transformers_generate, "decant": ours}, chosen.repeat)
    tokens = sum(map(len, said["decant"]))
    assert tokens == sum(map(len, said["transformers"])) == chosen.max_tokens * len(ids)
    return {
        "model": {**loaded.facts(), "name": name},
        "prompts": len(ids),
        "new_tokens": chosen.max_tokens,
        "tokens_per_second": {side: spread([tokens / one for one in times]) for side, times in seconds.items()},
        "ratio": ratios(seconds["transformers"], seconds["decant"]),
        "same_texts": sum(a == b for a, b in zip(said["decant"], said["transformers"], strict=True)),
    }


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--model", help="another model folder; its prompts are the first lines of --text")
    parser.add_argument("--text", default="Once upon a time, there was a little girl who liked to")
    parser.add_argument("--widen", default="0.4B", help="size of the widened house:target; 'none' leaves it out")
    parser.add_argument("--dtype", default=working_dtype(), help="default: the fastest here")
    parser.add_argument("--limit", type=int, default=3, help="prompts")
    parser.add_argument("--max-tokens", type=int, default=96)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.limit, chosen.max_tokens = "none", 1, 8
    facts = begin(chosen)
    print(heading(facts))
    house = str(HOUSE / "target")
    cases = [("house:target", house, None, None)]
    if chosen.widen != "none":
        cases.append(("house:target", house, chosen.widen, None))
    stories = Path(os.environ.get("DECANT_DATA", "")) / "weights" / "stories260K" / "hf"
    if os.environ.get("DECANT_DATA") and stories.is_dir():
        cases.append((str(stories), str(stories), None, [chosen.text]))
    if chosen.model:
        cases.append((chosen.model, chosen.model, None, [chosen.text]))
    found = []
    for name, folder, widen, prompts in cases:
        one = compare(name, folder, widen, prompts, chosen)
        one["model"]["name"] = name if name.startswith("house:") else "/".join(Path(name).parts[-2:])
        found.append(one)
        speed, ratio = one["tokens_per_second"], one["ratio"]
        print(
            f"{one['model']['name']}{' at ' + widen if widen else ''}, {chosen.dtype}: transformers "
            f"{speed['transformers']['median']:.1f} tokens/s, decant {speed['decant']['median']:.1f}, ratio "
            f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f}), same text {one['same_texts']} of "
            f"{one['prompts']}",
            flush=True,
        )
    print(f"results: {save({'machine': facts, 'models': found}, __file__, chosen)}")
