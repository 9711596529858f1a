"""What do eight-bit weights cost in quality, and what do they save in time?

    python benchmarks/weights.py [--widen 0.4B] [--threads 1] [--quick]

house:target with its weights in float32 and bfloat16, and rounded to int8 under activations of either type. Quality,
at its own size, on the held-out split: nats a token of code, with the difference to float32 window by window and its
standard error; greedy replies that are right, and that are float32's to the letter. Speed: plain greedy decoding of
short prompts, prefill included, the four taking turns, at its own size and widened (a model of 5M is mostly calls, a
widened one mostly weights). Ratios are to bfloat16, the narrowest that is as stored.

Left out: other models (rounding costs larger ones less, and ones with outlying activations more); rows drafted, whose
passes are the wider ones; batches above 1; memory.
"""

import time
from statistics import fmean, stdev

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy

from decant.apps.compose import plain
from decant.apps.prompts import encode, read
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
}
STORED, NARROW = "float32", "bfloat16"
PROMPT_TOKENS = 48


def house_target(setting: str, widen: str | None = None) -> Loaded:
    dtype, weights = SETTINGS[setting]
    return load("house:target", dtype=dtype, weights=weights, widen=widen, exact="off", device="cpu")


def windows(words: Tokenizer, count: int | None) -> list[torch.Tensor]:
    """Held-out code as the model cards measure it: ids_1T."""
    code = encode_code(words, [document.text for document in corpus.documents(held_out=True)])
    whole = len(code) // evaluate.WINDOW
    step = max(1, whole // (count or whole))
    rows = [code[at * evaluate.WINDOW :][: evaluate.WINDOW] for at in range(0, whole, step)][:count]
    return [torch.from_numpy(row.astype("int64"))[None] for row in rows]


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
    found: dict[str, dict] = {}
    asked = {task: evaluate.held_out(task, chosen.each) for task in tasks.GENERATORS}
    reference, told = [], {}
    for setting in SETTINGS:
        loaded = house_target(setting)
        lost = [nats(loaded, ids_1T) for ids_1T in windows(loaded.tokenizer.backend_tokenizer, chosen.windows)]
        said = replies(loaded, asked)
        reference, told = (reference or lost), (told or said)
        more = [one - stored for one, stored in zip(lost, reference, strict=True)]
        right = {
            task: fmean(tasks.correct(one, reply) for one, reply in zip(asked[task], said[task], strict=True))
            for task in asked
        }
        same = [a == b for task in asked for a, b in zip(said[task], told[task], strict=True)]
        found[setting] = {
            "model": loaded.facts(),
            "windows": len(lost),
            "nats_per_token": fmean(lost),
            "nats_above_float32": {"mean": fmean(more), "standard_error": stdev(more) / len(more) ** 0.5},
            "exact_match": right,
            "replies": len(same),
            "replies_of_float32": sum(same),
        }
        print(
            f"{setting}: {fmean(lost):.4f} nats a token ({fmean(more):+.4f} +- "
            f"{found[setting]['nats_above_float32']['standard_error']:.4f}), "
            f"{', '.join(f'{task} {share:.1%}' for task, share in right.items())}; {sum(same)} of {len(same)} replies "
            f"are float32's",
            flush=True,
        )
    return found


def speed(widen: str | None, chosen) -> dict[str, dict]:
    """Of every setting, taking turns."""
    models = {setting: house_target(setting, widen) for setting in SETTINGS}
    prompts = encode(read("house:code", chosen.limit), models[STORED], chosen.max_tokens)
    work = Workload([ids[:PROMPT_TOKENS] for ids in prompts], chosen.max_tokens)

    def decode(loaded: Loaded) -> float:
        start = time.perf_counter()
        tokens = sum(
            len(output.tokens) for _, outputs in work.decode(plain(loaded, greedy()).decoder) for output in outputs
        )
        return tokens / (time.perf_counter() - start)

    runs = alternate({setting: lambda one=loaded: decode(one) for setting, loaded in models.items()}, chosen.repeat)
    found = {}
    for setting, values in runs.items():
        found[setting] = {
            "model": models[setting].facts(),
            "tokens_per_second": spread(values),
            "to_bfloat16": ratios(values, runs[NARROW]),
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
    parser.add_argument("--widen", default="0.4B", help="size of the widened target; 'none' leaves it out")
    parser.add_argument("--windows", type=int, help="windows of held-out code (default: all)")
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
