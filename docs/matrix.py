"""Print docs/matrix.md: every sampler and constraint under every way to draft, held against plain decoding.

python docs/matrix.py > docs/matrix.md
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, final

from decant import __version__
from decant.apps.choosing import Chosen, choose
from decant.apps.compose import compose, plain
from decant.apps.guidance import Guidance
from decant.apps.opening import Opening
from decant.apps.prompts import encode, read
from decant.apps.sampling import Sampling
from decant.constraints.grammar import Json, Regex
from decant.decoders.parting import explain
from decant.decoders.workload import Workload, warmed
from decant.errors import DecantError
from decant.models.loaded import Loaded
from decant.protocols import AnyDecoder

METHODS: Final = ("plain", "prompt-lookup", "token-recycling", "draft-model")
SOURCES: Final = {"house:tasks": 5, "house:code": 3}
"""Prompts of each, the first ones."""
TOKENS, SEED = 32, 0
GUIDED: Final = frozenset(one.name for one in fields(Guidance))


@final
@dataclass(frozen=True, slots=True)
class Row:
    """part: of the catalogue, or what leads the target. settings: as `generate` takes them, beside temperature 1."""

    part: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The settings as one would type them."""
        return ", ".join(f"`{name}={value!r}`" for name, value in self.settings.items()) or "none"


SAMPLERS: Final = (
    Row("greedy", {"temperature": 0}),
    Row("temperature", {"temperature": 0.7}),
    Row("top-k", {"top_k": 5}),
    Row("top-p", {"top_p": 0.7}),
    Row("min-p", {"min_p": 0.2}),
    Row("top-h", {"top_h": 0.4}),
    Row("typical", {"typical_p": 0.6}),
    Row("eta", {"eta_cutoff": 0.05}),
    Row("epsilon", {"epsilon_cutoff": 0.05}),
    Row("top-n-sigma", {"top_n_sigma": 1.0}),
    Row("xtc", {"xtc_probability": 0.5, "xtc_threshold": 0.1}),
    Row("chain", {"temperature": 0.8, "top_k": 20, "top_p": 0.9}),
)
CONSTRAINTS: Final = (
    Row("repetition-penalty", {"repetition_penalty": 1.3}),
    Row("presence-penalty", {"presence_penalty": 1.5}),
    Row("frequency-penalty", {"frequency_penalty": 0.7}),
    Row("dry", {"dry_multiplier": 1.5, "dry_allowed_length": 1}),
    Row("no-repeat-ngram", {"no_repeat_ngram_size": 2}),
    Row("logit-bias", {"logit_bias": {16: 3.0, 225: -2.0}}),
    Row("bad-words", {"bad_words": ["self", " the", ","]}),
    Row("grammar", {"constraint": Json({"type": "object"})}),
    Row("grammar", {"constraint": Regex("([a-z]+ )+[a-z]+")}),
    Row("mirostat", {"mirostat": 1, "mirostat_tau": 2.0}),
    Row("mirostat", {"mirostat": 2, "mirostat_tau": 2.0}),
    Row("several", {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "top_p": 0.9}),
    Row("unconstrained"),
)
GUIDES: Final = (
    Row("guidance", {"guidance": 1.5}),
    Row("guidance", {"guidance": 1.5, "negative_prompt": "def"}),
    Row("contrast", {"contrast": "house:draft"}),
    Row("dola", {"dola": "high"}),
)


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """A target with its draft model, and what they are asked."""

    target: Loaded
    draft: Loaded
    workload: Workload


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """How a method went. texts: how many; identical: of them, plain decoding's; rate: tokens a target call.

    notes: where texts parted, and why; or why nothing was decoded, `rate` then being 0.
    """

    texts: int
    identical: int = 0
    rate: float = 0.0
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.identical}/{self.texts}, {self.rate:.2f}" if self.rate else "refused"


def chosen(row: Row, pair: Pair) -> Chosen:
    """What the settings of a row do to logits; an amateur is the pair's own draft model."""
    settings = {"temperature": 1.0, **row.settings}
    constraint = settings.pop("constraint", None)
    leading = {name: settings.pop(name) for name in GUIDED & settings.keys()}
    if "contrast" in leading:
        leading["contrast"] = pair.draft
    guide = Guidance(**leading).opened(Opening())
    return choose(Sampling(**settings), pair.target, pair.target.defaults, constraint=constraint, guide=guide)


def said(decoder: AnyDecoder, workload: Workload) -> tuple[list[list[int]], int]:
    """The texts, and how many target calls they took; a drafter keeps what it learns from prompt to prompt."""
    texts, calls = [], 0
    for group in workload.groups():
        turn = group.decode(decoder)
        decoder = warmed(decoder, turn.state)
        texts += [output.tokens for output in turn.outputs]
        calls += turn.steps
    return texts, calls


def reference(what: Chosen, pair: Pair) -> list[list[int]]:
    """Plain decoding's texts."""
    return said(plain(pair.target, what.warp, what.constraint, what.guide).decoder, pair.workload)[0]


def cell(method: str, what: Chosen, pair: Pair, expected: list[list[int]]) -> Cell:
    """The method's texts, held against those that were expected."""
    undrafted = plain(pair.target, what.warp, what.constraint, what.guide).decoder
    try:
        made = compose(method, pair.target, pair.draft, what.warp, constraint=what.constraint, guide=what.guide)
        texts, calls = said(made.decoder, pair.workload)
    except DecantError as refusal:
        return Cell(len(expected), notes=(str(refusal),))
    pairs = enumerate(zip(expected, texts, strict=True))
    partings = [explain(undrafted, pair.workload, prompt, *both) for prompt, both in pairs if both[0] != both[1]]
    notes = tuple(f"prompt {one.prompt}, token {one.position}: {one.cause}" for one in partings if one is not None)
    return Cell(len(texts), len(texts) - len(partings), sum(map(len, texts)) / calls, notes)


def house() -> Pair:
    """The house models as `load` gives them, and held-out prompts."""
    target, draft = Opening().pair("house:target", "house:draft", METHODS)
    assert draft is not None
    prompts = [ids for source, most in SOURCES.items() for ids in encode(read(source, most), target, TOKENS)]
    return Pair(target, draft, Workload(prompts, TOKENS, seed=SEED, ends=target.ends))


def head(pair: Pair) -> str:
    """What was run, and how the table is read."""
    facts = pair.target.facts()
    sources = " and ".join(f"1 to {most} of {source}" for source, most in SOURCES.items())
    mode = "on" if facts["exact"] else "off"
    return f"""\
# Samplers and constraints, under every way to draft

Generated by `make docs` from `docs/matrix.py`, which takes minutes: change that file, not this page.

Every row is decoded plainly and by three methods with the same seeds, and the texts are compared token by token. The
rows are all samplers and constraints of the catalogue ([methods](methods.md)), then what leads a text.

* **Models:** {facts["name"]} with {pair.draft.name}, {facts["dtype"]}, exact mode {mode}
  (as `load` decided), decant {__version__}.
* **Requests:** the prompts {sources}, one at a time; at most {TOKENS} new tokens, seed {SEED},
  the verifier `coupled`, temperature 1 where a row does not say otherwise.
* **A cell:** texts identical to plain decoding's, of all; then tokens a target call, the target's own included. Under
  `plain` the same is decoded a second time.
* **changes:** texts that are others than with no setting at all, which shows that a row does something.
* Under guidance and contrast a target call is a pass over two texts, or of two models.
"""


def page() -> Iterator[str]:
    """The lines of the page."""
    pair = house()
    yield head(pair)
    yield f"| part | settings | changes | {' | '.join(METHODS)} |"
    yield "|---" * (3 + len(METHODS)) + "|"
    free, notes = reference(chosen(Row("unconstrained"), pair), pair), list[str]()
    for row in (*SAMPLERS, *CONSTRAINTS, *GUIDES):
        what = chosen(row, pair)
        expected = reference(what, pair)
        changes = sum(one != other for one, other in zip(expected, free, strict=True))
        cells = {method: cell(method, what, pair, expected) for method in METHODS}
        shown = (f"`{row.part}`", row.label, f"{changes}/{len(free)}", *map(str, cells.values()))
        yield f"| {' | '.join(shown)} |"
        notes += [f"* `{row.part}`, {method}: {note}" for method, one in cells.items() for note in one.notes]
    yield ""
    yield from notes or ["No composition is refused, and no two texts part."]


if __name__ == "__main__":
    print("\n".join(page()))
