"""Every method by its command-line name. Tables, not a registry: one row per file.

Parts are named by module and imported when `compose` asks, so that a misspelt name is answered before torch loads.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final, TypeVar, final

from decant.apps.knobs import Kinds, knobs_of, split, values_of
from decant.errors import UnknownMethod

DEFAULT_VERIFIER: Final = "coupled"
NEEDS_DRAFT: Final = "a draft model"
NEEDS_TREES: Final = "tree masks"
WIRED: Final = frozenset({"coupled"})
"""Fields that look like knobs and are none (`wiring` sets them): how a drafter draws follows from who verifies."""


@final
@dataclass(frozen=True, slots=True)
class Part:
    """One file of a role.

    home:   `module:Name`, below the package.
    needs:  what it cannot do without, "" for nothing.
    source: authors, year, arXiv id.
    """

    name: str
    summary: str
    home: str
    source: str
    needs: str = ""

    def get(self) -> Any:
        """The class, or the function, itself."""
        module, _, name = self.home.partition(":")
        return getattr(import_module(f"decant.{module}"), name)


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """One decoding method: a drafter with the policy and the verifier that suit it, or a decoder of its own.

    drafter:  None decodes plainly, unless there is a decoder.
    policy:   the default, as `--policy` would spell it; "" where nothing is drafted.
    needs:    what it cannot do without: "a draft model", "tree masks", or "".
    verifier: the default, as `--verifier` would spell it.
    decoder:  of methods that are no draft-and-verify loop.
    """

    name: str
    summary: str
    source: str
    drafter: str | None = None
    policy: str = ""
    needs: str = ""
    verifier: str = DEFAULT_VERIFIER
    decoder: str | None = None


Row = TypeVar("Row", Part, Recipe)


def _table(*rows: Row) -> Mapping[str, Row]:
    return {row.name: row for row in rows}


METHODS: Final = _table(
    Recipe("plain", "one token a step, the baseline of every ratio", "the definition of autoregressive decoding"),
    Recipe(
        "draft-model",
        "a smaller model of the same tokenizer guesses a chain",
        "Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318",
        drafter="draft-model",
        policy="fixed:depth=5",
        needs=NEEDS_DRAFT,
    ),
    Recipe(
        "prompt-lookup",
        "the text after an earlier occurrence of the last tokens is the guess",
        "Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding",
        drafter="prompt-lookup",
        policy="fixed:depth=5",
    ),
    Recipe(
        "token-recycling",
        "the best ids that the target once gave after each token make a tree",
        "Luo et al. 2024, arXiv:2408.08696",
        drafter="token-recycling",
        policy="fixed:depth=6",
        needs=NEEDS_TREES,
    ),
)
DRAFTERS: Final = _table(
    Part(
        "draft-model",
        "a smaller model guesses a chain",
        "drafters.draft_model:DraftModel",
        "Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318",
        needs=NEEDS_DRAFT,
    ),
    Part(
        "prompt-lookup",
        "what followed the last tokens before follows again",
        "drafters.prompt_lookup:PromptLookup",
        "Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding",
    ),
    Part(
        "token-recycling",
        "a tree of the target's own earlier best ids",
        "drafters.token_recycling:TokenRecycling",
        "Luo et al. 2024, arXiv:2408.08696",
        needs=NEEDS_TREES,
    ),
)
VERIFIERS: Final = _table(
    Part(
        "coupled",
        "a guess stands where it equals the target's own counted draw: same seed, same text",
        "verifiers.coupled:Coupled",
        "Leviathan et al. 2023, arXiv:2211.17192; Gumbel coupling: Maddison et al. 2014, arXiv:1411.0030",
    ),
    Part(
        "rejection",
        "chains; accept with min(1, p / q), else draw from the residual",
        "verifiers.rejection:Rejection",
        "Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318",
    ),
    Part(
        "tree-rejection",
        "trees; children drawn without replacement are tried one after another",
        "verifiers.tree_rejection:TreeRejection",
        "Miao et al. 2023, arXiv:2305.09781; Chen et al. 2024, arXiv:2402.12374; Jeon et al. 2024, arXiv:2402.14160",
    ),
)
POLICIES: Final = _table(
    Part("fixed", "always the same shape", "policies.fixed:Fixed", "Leviathan et al. 2023, arXiv:2211.17192"),
    Part(
        "additive",
        "deeper after a clean sweep, shallower after a refusal",
        "policies.additive:Additive",
        "Gante 2023, huggingface.co/blog/assisted-generation",
    ),
    Part(
        "cost-aware",
        "as deep as pays by this machine's measured costs, or not at all",
        "policies.cost_aware:CostAware",
        "Leviathan et al. 2023, arXiv:2211.17192",
    ),
    Part(
        "confidence",
        "stop where the drafter itself is unsure",
        "policies.confidence:Confidence",
        "Zhang et al. 2023, arXiv:2309.08168",
    ),
)
DECODERS: Final[Mapping[str, Part]] = _table()
SAMPLERS: Final = _table(
    Part("greedy", "the likeliest token, always", "samplers.greedy:greedy", "Leviathan et al. 2023, arXiv:2211.17192"),
    Part(
        "temperature",
        "flatter above 1, steeper below",
        "samplers.temperature:temperature",
        "Ackley, Hinton and Sejnowski 1985",
    ),
    Part("top-k", "only the k likeliest tokens", "samplers.top_k:top_k", "Fan et al. 2018, arXiv:1805.04833"),
    Part("top-p", "the fewest tokens of mass p", "samplers.top_p:top_p", "Holtzman et al. 2019, arXiv:1904.09751"),
    Part("min-p", "only tokens near the likeliest", "samplers.min_p:min_p", "Nguyen et al. 2024, arXiv:2407.01082"),
    Part("chain", "several of these, left to right", "samplers.chain:chain", "Leviathan et al. 2023, arXiv:2211.17192"),
)
CONSTRAINTS: Final = _table(
    Part(
        "unconstrained",
        "everything may come next",
        "constraints.unconstrained:Unconstrained",
        "the neutral element of the Constraint seam",
    ),
)


def pick(table: Mapping[str, Row], name: str, role: str) -> Row:
    """The row called `name`, or UnknownMethod with the nearest ones."""
    if name in table:
        return table[name]
    near = get_close_matches(name.replace("_", "-"), table, n=3) or sorted(table)
    raise UnknownMethod(f"no {role} is called {name!r}; did you mean {' or '.join(near)}?")


def knobs_for(recipe: Recipe, policy: str | None = None) -> tuple[Kinds, Kinds]:
    """The knobs of a recipe's drafter, and those of the policy that paces it; or those of its decoder, and none."""
    if recipe.decoder is not None:
        return knobs_of(pick(DECODERS, recipe.decoder, "decoder").get(), dict.fromkeys(WIRED)), {}
    if recipe.drafter is None:
        return {}, {}
    drafter = pick(DRAFTERS, recipe.drafter, "drafter").get()
    pace = pick(POLICIES, split(policy or recipe.policy).name, "policy").get()
    return knobs_of(drafter, dict.fromkeys(WIRED)), knobs_of(pace)


def check(specs: Iterable[str], verifier: str | None = None, policy: str | None = None) -> None:
    """Raise for a name or a knob that is in no table, before a model is loaded; a knob imports the part it sets."""
    for table, role, spec in ((VERIFIERS, "verifier", verifier), (POLICIES, "policy", policy)):
        if spec is not None:
            part = pick(table, split(spec).name, role)
            if split(spec).knobs:
                values_of(split(spec), knobs_of(part.get()))
    for spec in specs:
        wanted = split(spec)
        recipe = pick(METHODS, wanted.name, "method")
        if wanted.knobs:
            mine, his = knobs_for(recipe, policy)
            values_of(wanted.parted(mine, his)[0], mine)
            values_of(wanted.parted(mine, his)[1], his)
