"""Print docs/scale.md: what the cost model says of 7B and 70B on machines that nobody has here.

python docs/scale.py > docs/scale.md
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from decant.errors import BadInput
from decant.tune import hardware
from decant.tune.hardware import Hardware
from decant.tune.predict import Passes, Profile, best_depth, predict
from decant.tune.shape import Shape
from decant.tune.simulate import drafting, passes, refuse_large

BATCHES = (1, 4, 16, 64, 256)
CONTEXT, LONG = 1024, 16384
DEPTHS = range(1, 13)
RATES = (0.6, 0.8)
WORTH = 1.02  # below it a prediction of this kind says "off"


def config(sizes: str, **more: Any) -> dict[str, Any]:
    """A config.json in short: width, feed-forward, layers, heads, key-value heads, vocabulary."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    return dict(zip((*names, "vocab_size"), map(int, sizes.split()), strict=True)) | {"dtype": "bfloat16"} | more


CONFIGS: Mapping[str, dict[str, Any]] = {
    "Llama-2-7B": config("4096 11008 32 32 32 32000"),  # meta-llama/Llama-2-7b-hf
    "llama-68m": config("768 3072 2 12 12 32000"),  # JackFram/llama-68m
    "TinyLlama-1.1B": config("2048 5632 22 32 4 32000"),  # TinyLlama/TinyLlama_v1.1
    "a layer for 7B": config("4096 11008 1 32 32 32000"),  # as EAGLE's head for Llama-2-7B
    "Llama-3-70B": config("8192 28672 80 64 8 128256"),  # meta-llama/Meta-Llama-3-70B
    "Llama-3.2-1B": config("2048 8192 16 32 8 128256", tie_word_embeddings=True),  # meta-llama/Llama-3.2-1B
    "Llama-3-8B": config("4096 14336 32 32 8 128256"),  # meta-llama/Meta-Llama-3-8B
    "a layer for 70B": config("8192 28672 1 64 8 32000"),  # as EAGLE-3's, which guesses 32,000 of the tokens
}


@dataclass(frozen=True)
class Case:
    """A target, who guesses for it, and machines."""

    target: str
    drafts: tuple[str, ...]
    machines: tuple[str, ...]


CASES = (
    Case("Llama-2-7B", ("llama-68m", "a layer for 7B", "TinyLlama-1.1B"), ("h100-sxm", "l4", "epyc-9654")),
    Case(
        "Llama-3-70B",
        ("a layer for 70B", "Llama-3.2-1B", "Llama-3-8B"),
        ("h100-sxm:devices=4", "h200-sxm:devices=2"),
    ),
)


def shape(name: str) -> Shape:
    """Of one of the models above."""
    return Shape.of(CONFIGS[name], name)


@dataclass(frozen=True)
class Cell:
    """One target and draft on one machine at one batch; `there` is None where they do not fit."""

    machine: Hardware
    target: Shape
    draft: Shape | None
    batch: int
    context: int

    @property
    def there(self) -> Passes | None:
        models = [self.target] if self.draft is None else [self.target, self.draft]
        try:
            refuse_large(self.machine, models, self.batch, self.context)
        except BadInput:
            return None
        return passes(self.machine, self.target, [self.batch], self.context)

    def chain(self, rate: float, depth: int) -> Profile:
        assert self.draft is not None
        return Profile.chain(rate, depth, drafting(self.machine, self.draft, [self.batch], self.context))

    def best(self, there: Passes, rate: float) -> tuple[int, float]:
        """The depth that pays most, and the speed-up."""
        depth = best_depth(there, self.chain(rate, 1), self.batch, DEPTHS)
        return depth, predict(there, self.chain(rate, depth), self.batch).speedup

    def least(self, there: Passes) -> float | None:
        """The share of kept guesses from which on drafting pays; None where no share does."""
        if self.best(there, 1.0)[1] < WORTH:
            return None
        low, high = 0.0, 1.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (low, middle) if self.best(there, middle)[1] >= WORTH else (middle, high)
        return high


def table(columns: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield ""
    for row in [columns, ["---"] * len(columns), *rows]:
        yield f"| {' | '.join(row)} |"
    yield ""


def plainly(machine: Hardware, target: Shape, batch: int) -> str:
    """Milliseconds of a step, tokens a second of all requests, and rows of a request that are nearly free."""
    there = Cell(machine, target, None, batch, CONTEXT).there
    if there is None:
        return "no room"
    step = there.plain(batch)
    free = max(rows for rows in range(1, 65) if there.seconds(batch, rows) <= 1.1 * there.seconds(batch))
    rate = f"{batch / step:,.0f}" if batch > 99 * step else f"{batch / step:.3g}"
    return f"{1e3 * step:.3g} ms, {rate}/s, {free}{'+' if free == 64 else ''}"


def gain(cell: Cell, rate: float) -> str:
    """The speed-up at the best depth, or off."""
    if (there := cell.there) is None:
        return "no room"
    depth, speedup = cell.best(there, rate)
    return f"{speedup:.2f}x ({depth})" if speedup >= WORTH else "off"


def threshold(cell: Cell) -> str:
    """The least share that pays."""
    if (there := cell.there) is None:
        return "no room"
    least = cell.least(there)
    return "never" if least is None else f"{least:.2f}"


def level(cell: Cell, other: Cell, rate: float) -> str:
    """The share at which this draft is as good as the other at `rate`."""
    there, known = cell.there, other.there
    if there is None or known is None:
        return "no room"
    wanted = max(1.0, other.best(known, rate)[1])
    if cell.best(there, 1.0)[1] < wanted:
        return "never"
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if cell.best(there, middle)[1] >= wanted else (middle, high)
    return f"{high:.2f}"


def section(case: Case) -> Iterator[str]:
    """One target: plain decoding, gains, thresholds, sizes of drafts."""
    target, drafts = shape(case.target), [shape(name) for name in case.drafts]
    machines = [hardware.load(name) for name in case.machines]
    heads = [f"batch {batch}" for batch in BATCHES]
    yield f"## {case.target}"
    yield ""
    sizes = ", ".join(f"{one.name} with {one.parameters / 1e9:.2g}B" for one in drafts)
    cached = f"{target.cached_token / 1e6:.2g} MB of cache a token"
    yield f"{target.parameters / 1e9:.3g}B parameters in {target.dtype}, {cached}. Drafts: {sizes}."
    yield ""
    yield "Plain decoding: a step, tokens a second of all requests together, and the rows of each request that cost no"
    yield "more than 1.1 times one row (what a draft may hold before it is felt)."
    yield from table(
        ["machine", *heads],
        [[one.name, *(plainly(one, target, batch) for batch in BATCHES)] for one in machines],
    )
    yield "Speed-up at the best depth (in parentheses), where so many of the guesses stand:"
    yield from table(
        ["machine", "draft", "stand", *heads],
        [
            [one.name, draft.name, f"{rate:.0%}", *(gain(Cell(one, target, draft, b, CONTEXT), rate) for b in BATCHES)]
            for one in machines
            for draft in drafts
            for rate in RATES
        ],
    )
    yield "The share of guesses that must stand before drafting pays at all (a fiftieth faster):"
    yield from table(
        ["machine", "draft", *heads],
        [
            [one.name, draft.name, *(threshold(Cell(one, target, draft, batch, CONTEXT)) for batch in BATCHES)]
            for one in machines
            for draft in drafts
        ],
    )
    small = drafts[0]

    def equal(machine: Hardware, draft: Shape, batch: int) -> str:
        return level(*(Cell(machine, target, one, batch, CONTEXT) for one in (draft, small)), rate=0.6)

    yield f"What a larger draft must reach to be as good as {small.name} of which 60 % stand:"
    yield from table(
        ["machine", "draft", *heads],
        [
            [one.name, draft.name, *(equal(one, draft, batch) for batch in BATCHES)]
            for one in machines
            for draft in drafts[1:]
        ],
    )


def long_contexts() -> Iterator[str]:
    """The same gains behind long contexts."""
    yield f"## Behind {LONG:,} tokens"
    yield ""
    yield "The cache of every request is read once a pass, however many rows ask about it. The longer it is, the more"
    yield "of a pass is reading, and the longer guesses stay cheap; but the fewer requests fit. 80 % of the guesses"
    yield "stand:"
    rows = []
    for case in CASES:
        target, draft = shape(case.target), shape(case.drafts[1])
        for name in case.machines:
            machine = hardware.load(name)
            for context in (CONTEXT, LONG):
                cells = [Cell(machine, target, draft, batch, context) for batch in BATCHES]
                rows.append([target.name, draft.name, machine.name, f"{context:,}", *(gain(one, 0.8) for one in cells)])
    yield from table(["target", "draft", "machine", "context", *(f"batch {batch}" for batch in BATCHES)], rows)


def numbers() -> Iterator[str]:
    """The machines, and what of them is presumed."""
    yield "## The machines"
    yield ""
    yield "`src/decant/tune/hardware/` holds the files, with the source of every number. Peaks are the vendors'; what a"
    yield "pass reaches of them is presumed, until `bench --costs` has run there."
    rows = []
    for name in hardware.shipped():
        one = hardware.load(name)
        tflops = one.tflops["bfloat16"]
        public = [field for field in ("bandwidth_gb_s", "tflops.bfloat16") if field not in one.presumed]
        rows.append(
            [
                f"`{name}`",
                one.name,
                f"{one.memory_gb:g} GB",
                f"{one.bandwidth_gb_s:g} GB/s",
                f"{tflops:g}",
                f"{1e3 * tflops * one.compute_efficiency / one.bandwidth_gb_s / one.bandwidth_efficiency:.0f}",
                "yes" if len(public) == 2 else "the bandwidth",
            ]
        )
    columns = ["name", "machine", "memory", "bandwidth", "TFLOP/s, bfloat16", "rows until computing", "peaks public"]
    yield from table(columns, rows)
    yield "*Rows until computing*: how many rows of a product in 16 bits take as long to compute as its matrix takes to"
    yield "read. A pass with fewer is bound by reading, and guesses cost little in it."


HEAD = """\
# Past this machine: 7B and 70B

Printed by `python docs/scale.py`: change that, not this page. **Nothing here was measured on these machines.** It is
what the cost model of `decant tune --simulate` says: a roofline of each part of a pass, kernels that cost a little
each, exchanges between devices, and guesses that stand independently of each other. Which share of the guesses stands
is an assumption here; of your models it is a measurement (`decant tune MODEL --simulate h100-sxm`).

Fitted to the passes of one machine, the model typically missed the speed-ups measured there by 9 %
(`benchmarks/simulate_kept.py`); fitted to those of a model of 0.1B, it missed the speed-ups of one of 0.4B by 8 %, at
most 20 %, and named the fastest method (`benchmarks/simulate.py`). On this page what passes reach of a peak is
presumed, so read it for its shape rather than its second digit. What it says:

* **Alone, guesses pay anywhere.** At batch 1 a pass is bound by reading, and a draft of a hundredth of the target pays
  as soon as one guess in fifteen stands.
* **On a GPU they pay up to large batches.** 7B on one H100 still gains at batch 64, and at 256 its caches have no room.
  70B on four gains at batch 64 and hardly at 256: what is left there is within the model's error, and "off" is safe.
* **On a processor they fade early.** A few rows of a few requests keep it computing.
* **The best depth falls with the batch** once the batch makes a pass compute: of 70B and a layer on four H100, of whose
  guesses 80 % stand, it is three at batch 64 and one or two at 256, where alone it is ten or more.
* **A cheap draft beats a good one.** A draft of a sixth of the target must be right nearly nine times in ten to be as
  good as one of a hundredth that is right six times in ten, and it needs one guess in four or five to pay at all.
* **Long contexts** make a pass read again where a batch had made it compute: on the processor, at batch 16, 1.6 times
  become 2.6. Where reading was the bound anyway they change little, and the draft reads a cache of its own.
"""


def page() -> Iterator[str]:
    """The lines of the page."""
    yield HEAD.rstrip()
    yield ""
    for case in CASES:
        yield from section(case)
    yield from long_contexts()
    yield from numbers()


if __name__ == "__main__":
    print("\n".join(page()))
