"""What do rounded weights cost in quality, and what do they save in time?

    python benchmarks/weights.py [--model house:draft] [--widen 0.4B] [--threads 1] [--quick]
    python benchmarks/weights.py --model FOLDER --text stories.txt --widen none

A model with its weights in float32 and bfloat16, and rounded to eight and to four bits under activations of either
type. Quality, at its own size: nats a token of windows of text that the model did not learn from (of a house model its
held-out code), with the difference to bfloat16 window by window and its standard error; of house models also greedy
replies that are right, and that are bfloat16's to the letter. Speed: plain greedy decoding of short prompts, prefill
included, all taking turns, at its own size and widened (a model of 5M is mostly calls, a widened one mostly weights).
Ratios are to bfloat16, the narrowest that is as stored.

Left out: large models (rounding costs them less, and those with outlying activations more); rows drafted, whose passes
are the wider ones, and where four bits are slower than eight; batches above 1; memory.
"""

import time
from pathlib import Path
from statistics import fmean, stdev

import torch
from torch.nn.functional import cross_entropy

from decant.apps.compose import plain
from decant.bench.study import begin, heading, options, save
from decant.bench.timing import alternate, ratios, spread
from decant.decoders.workload import Workload
from decant.house import corpus, evaluate, tasks
from decant.house.mixture import encode_code
from decant.models.load import Loaded, load
from decant.samplers.greedy import greedy
from decant.types import Taps

SETTINGS = {
    "float32": ("float32", "auto"),
    "bfloat16": ("bfloat16", "auto"),
    "int8, float32 activations": ("float32", "int8"),
    "int8, bfloat16 activations": ("bfloat16", "int8"),
    "int4, float32 activations": ("float32", "int4"),
    "int4, bfloat16 activations": ("bfloat16", "int4"),
}
STORED = "bfloat16"
PROMPT_TOKENS = 48


def opened(model: str, setting: str, widen: str | None = None) -> Loaded:
    dtype, weights = SETTINGS[setting]
    return load(model, dtype=dtype, weights=weights, widen=widen, exact="off", device="cpu")


def windows(loaded: Loaded, text: str | None, count: int | None) -> list[torch.Tensor]:
    """Spread over the text, or over held-out code as the model cards measure it: ids_1T."""
    if text is None:
        documents = [document.text for document in corpus.documents(held_out=True)]
        ids = encode_code(loaded.tokenizer.backend_tokenizer, documents).tolist()
    else:
        ids = loaded.encode(Path(text).read_text(encoding="utf-8"))
    width = min(evaluate.WINDOW, loaded.model.context)
    whole = len(ids) // width
    step = max(1, whole // (count or whole))
    return [torch.tensor([ids[at * width :][:width]]) for at in range(0, whole, step)][:count]


@torch.inference_mode()
def nats(loaded: Loaded, ids_1T: torch.Tensor) -> float:
    """Mean over a window's tokens but the first."""
    _, scores = loaded.model.start(ids_1T, Taps(logits=True))
    return float(cross_entropy(scores.logits_BMV[0].float(), ids_1T[0, 1:]))


def replies(loaded: Loaded, asked: dict[str, list[tasks.Instance]]) -> dict[str, list[str]]:
    """Greedy answers to every task's questions, without the end token."""
    method, said = plain(loaded, greedy()), {}
    for task, instances in asked.items():
        prompts = [loaded.encode_chat([{"role": "user", "content": one.prompt}]) for one in instances]
        work = Workload(prompts, evaluate.LONGEST_REPLY, evaluate.BATCH, ends=loaded.ends)
        said[task] = [loaded.decode(output.tokens) for _, outputs in work.decode(method.decoder) for output in outputs]
    return said


def quality(chosen) -> dict[str, dict]:
    """Of every setting."""
    asked = {task: evaluate.held_out(task, chosen.each) for task in tasks.GENERATORS} if chosen.text is None else {}
    lost, said, facts = {}, {}, {}
    for setting in SETTINGS:
        loaded = opened(chosen.model, setting)
        facts[setting] = loaded.facts()
        lost[setting] = [nats(loaded, ids_1T) for ids_1T in windows(loaded, chosen.text, chosen.windows)]
        said[setting] = replies(loaded, asked)
    found: dict[str, dict] = {}
    for setting in SETTINGS:
        more = [one - stored for one, stored in zip(lost[setting], lost[STORED], strict=True)]
        same = [a == b for task in asked for a, b in zip(said[setting][task], said[STORED][task], strict=True)]
        found[setting] = {
            "model": facts[setting],
            "windows": len(more),
            "nats_per_token": fmean(lost[setting]),
            "nats_above_bfloat16": {"mean": fmean(more), "standard_error": stdev(more) / len(more) ** 0.5},
            "exact_match": {task: fmean(map(tasks.correct, asked[task], said[setting][task])) for task in asked},
            "replies": len(same),
            "replies_of_bfloat16": sum(same),
        }
        print(sentence(setting, found[setting]), flush=True)
    return found


def sentence(setting: str, found: dict) -> str:
    above = found["nats_above_bfloat16"]
    nats = f"{found['nats_per_token']:.4f} nats a token ({above['mean']:+.4f} +- {above['standard_error']:.4f})"
    right = ", ".join(f"{task} {share:.1%}" for task, share in found["exact_match"].items())
    same = f"{found['replies_of_bfloat16']} of {found['replies']} replies are bfloat16's"
    return f"{setting}: {nats}" + (f", {right}; {same}" if right else "")


def speed(widen: str | None, chosen) -> dict[str, dict]:
    """Of every setting, taking turns."""
    models = {setting: opened(chosen.model, setting, widen) for setting in SETTINGS}
    prompts = windows(models[STORED], chosen.text, chosen.limit)
    work = Workload([ids_1T[0, :PROMPT_TOKENS].tolist() for ids_1T in prompts], chosen.max_tokens)

    def decode(loaded: Loaded) -> float:
        start = time.perf_counter()
        tokens = sum(len(one.tokens) for _, said in work.decode(plain(loaded, greedy()).decoder) for one in said)
        return tokens / (time.perf_counter() - start)

    runs = alternate({setting: lambda one=loaded: decode(one) for setting, loaded in models.items()}, chosen.repeat)
    found = {}
    for setting, values in runs.items():
        found[setting] = {
            "model": models[setting].facts(),
            "tokens_per_second": spread(values),
            "to_bfloat16": ratios(values, runs[STORED]),
        }
        rate, ratio = found[setting]["tokens_per_second"], found[setting]["to_bfloat16"]
        print(
            f"{widen or 'as it is'}, {setting}: {rate['median']:.1f} tokens/s, {ratio['median']:.2f} times bfloat16's "
            f"({ratio['low']:.2f} to {ratio['high']:.2f})",
            flush=True,
        )
    return found


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--model", default="house:target", help="a house model, or any other with --text")
    parser.add_argument("--text", help="a file of text (default: the house's held-out code, and its tasks)")
    parser.add_argument("--widen", default="0.4B", help="size of the widened model; 'none' leaves it out")
    parser.add_argument("--windows", type=int, help="windows of text (default: all)")
    parser.add_argument("--each", type=int, default=60, help="held-out questions of a task")
    parser.add_argument("--limit", type=int, default=3, help="prompts of the race")
    parser.add_argument("--max-tokens", type=int, default=64)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.windows, chosen.each, chosen.limit, chosen.max_tokens = "none", 2, 1, 1, 6
    facts = begin(chosen)
    print(heading(facts))
    report = {"machine": facts, "quality": quality(chosen)}
    sizes = [None] if chosen.widen == "none" else [None, chosen.widen]
    report["speed"] = {widen or "as it is": speed(widen, chosen) for widen in sizes}
    print(f"results: {save(report, __file__, chosen)}")
