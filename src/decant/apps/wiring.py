"""What parts are given that nobody sets: a field is filled by its name, wherever it stands.

A part says what it needs by naming a field; `Wiring` has a method of that name. So a new need is one method here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, final

from decant.apps.catalog import DRAFTERS, FOLDERS, NEEDS_DRAFT, NEEDS_LAYERS, Recipe, pick
from decant.apps.guidance import Guide, led
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.awrs import ByConstraint
from decant.diffusion import MaskedLM
from decant.drafters.speculative_jacobi import Raster
from decant.errors import BadInput, IncompatibleParts
from decant.images import marginals
from decant.models import router as routers
from decant.models.early_exit import EarlyExits
from decant.models.folder import HOUSE, find
from decant.models.heads import folder as heads
from decant.models.images import folder as images
from decant.models.load import Loaded
from decant.models.masked import filter as filters
from decant.models.spelling import between, token_bytes
from decant.models.superposed import Superposed
from decant.models.tutor import Tutor
from decant.protocols import Constraint, Drafter, Exits, LanguageModel, Rides, Verifier, Warp
from decant.types import CostCurve
from decant.verifiers.block import Block
from decant.vocab.bridge import Bridge

EXIT_SHARE = 0.5  # of a pass: exits lie at a third of the layers, or a little deeper, and each reads the output matrix


@final
@dataclass(frozen=True, slots=True)
class Wiring:
    """What there is to give. Each method below is a field's name.

    recipe: whose parts these are. guide: what leads the target (`host` is bare), but never a draft model. guesser: the
    drafter, for its policy.
    """

    recipe: Recipe
    host: Loaded
    helper: Loaded | None
    judge: Verifier
    logits_warp: Warp
    logits_constraint: Constraint[Any]
    guide: Guide | None = None
    guesser: Drafter[Any] | None = None

    def given(self, made: Callable[..., Any], folders: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Values for its fields that are no knobs. folders: what knobs say of where some are read from (`FOLDERS`).

        Raises BadInput or IncompatibleParts for what is missing.
        """
        said = {FOLDERS[knob]: folder for knob, folder in (folders or {}).items()}
        return {name: getattr(self, name)(*([said[name]] if name in said else [])) for name in wired(made)}

    def target(self) -> LanguageModel:
        """The model whose text is kept."""
        return led(self.host, self.guide).model

    def verifier(self) -> Verifier:
        """Who judges."""
        return self.judge

    def warp(self) -> Warp:
        """What is done to logits."""
        return self.logits_warp

    def constraint(self) -> Constraint[Any]:
        """What may come next."""
        return self.logits_constraint

    def constrained(self) -> bool:
        """Whether anything may not come next."""
        return self.logits_constraint != Unconstrained()

    def masked(self) -> MaskedLM[Any]:
        """The model that fills in masks."""
        assert self.host.masked is not None, "filling.refuse_strangers"
        return self.host.masked

    def mask(self) -> int:
        """The id of an open place."""
        return self.masked().mask

    def delimiters(self) -> frozenset[int]:
        """Ids that write a newline, perhaps among other things. Raises BadInput without a tokenizer."""
        if self.host.tokenizer is None:
            raise BadInput(
                f"ada-block ends blocks at newlines, and {self.host.name} has no tokenizer files to know them by; take "
                f"schedule=blocks"
            )
        pieces = token_bytes(self.host.tokenizer)
        return frozenset(token for token, piece in enumerate(pieces) if piece and b"\n" in piece)

    def checker(self) -> ByConstraint:
        """What may come next, asked a token at a time. Raises BadInput where everything may."""
        if not self.constrained():
            raise BadInput(f"{self.recipe.name} obeys a constraint and none was given; give one, or take plain")
        return ByConstraint(self.logits_constraint, self.host.model.vocab)

    def coupled(self) -> bool:
        """Whether guesses are drawn with the target's own noise."""
        return self.judge.seeded

    def hindsight(self) -> bool:
        """Whether a guess may be refused for what stands behind it."""
        return isinstance(self.judge, Block)

    def model(self) -> LanguageModel:
        """The draft model, with as many logits as the target."""
        draft = self._draft()
        if not self.host.same_tokenizer(draft):
            raise IncompatibleParts(
                f"the tokenizers of {self.host.name} and {draft.name} differ; take a draft of the same tokenizer, or "
                f"the methods shared-vocabulary or omnidraft"
            )
        return replace(draft.model, vocab=self.host.model.vocab)

    def foreign(self) -> LanguageModel:
        """The draft model of another tokenizer, over its own vocabulary."""
        draft = self._draft()
        if self.host.same_tokenizer(draft):
            raise IncompatibleParts(
                f"{self.host.name} and {draft.name} have one tokenizer; take draft-model, which needs no bridge"
            )
        return draft.model

    def bridge(self) -> Bridge:
        """What the two vocabularies have in common."""
        return between(self.host, self._draft())

    def drafter(self) -> Drafter[Any]:
        """The draft model, as the drafter inside another."""
        made = pick(DRAFTERS, "draft-model", "drafter").get()
        return made(**self.given(made))

    def retriever(self, store: str | None = None) -> Drafter[Any]:
        """Matches in a datastore; where none is given, in the text itself and in earlier outputs."""
        made = pick(DRAFTERS, "suffix" if store is None else "retrieval", "drafter").get()
        return made() if store is None else made(store=store)

    def tutor(self) -> Tutor:
        """The draft model, able to learn."""
        return replace(Tutor.of(self._draft()), model=self.model())

    def head(self, given: str | None = None) -> Any:
        """The trained head for this drafter: the one given, else the one that the target's decant.json names."""
        kind = self.recipe.head or pick(DRAFTERS, str(self.recipe.drafter), "drafter").get().kind
        folder = self._trained(kind, given or self.host.heads.get(kind))
        if folder is None:
            raise BadInput(
                f"{self.recipe.name} needs a trained head and {self.host.name} names none; teach one with decant "
                f"distill {kind} --teacher {self.host.name}, and give its folder with --draft"
            )
        network = self.host.model.network
        layers = network.config.get_text_config().num_hidden_layers
        return heads.ready(heads.read(folder, layers), network)

    def small(self) -> LanguageModel:
        """The draft model as a decoder's second one."""
        return self.model()

    def router(self, given: str | None = None) -> Any:
        """What tells the draft model's tokens apart: the one given, else the one that the target's decant.json names
        as the head "router"."""
        draft, folder = self._draft(), self._trained("router", given)
        if folder is None:
            raise BadInput(
                f"{self.recipe.name} needs a trained router and {self.host.name} names none; teach one with decant "
                f"distill router --teacher {self.host.name} --student {draft.name}, and give its folder as "
                f"{self.recipe.name}:router=DIR"
            )
        return routers.ready(routers.read(folder), draft.model)

    def filter(self, given: str | None = None) -> Any:
        """What tells which guesses last: the one given, else the one that the target's decant.json names as the head
        "learn2pd"."""
        folder = self._trained("learn2pd", given)
        if folder is None:
            raise BadInput(
                f"{self.recipe.name} needs a trained filter and {self.host.name} names none; teach one with decant "
                f"distill learn2pd --teacher {self.host.name}, and give its folder as {self.recipe.name}:filter=DIR"
            )
        return filters.read(folder).to(self.host.model.network.device)

    def mixer(self) -> Any:
        """The target, fed with mixtures of tokens. Raises IncompatibleParts under guidance."""
        if self.guide is not None:
            self.guide.refuse(self.recipe.name, "feeds the target mixtures of tokens")
        return Superposed(self.host.model)

    def ends(self) -> frozenset[int]:
        """Ids that end a text."""
        return self.host.ends

    def exits(self) -> Exits:
        """The target's own layers. Raises IncompatibleParts where contexts are not the target's own."""
        if self.guide is not None and self.guide.kind != "dola":
            self.guide.refuse(self.recipe.name, "drafts in the target's own cache")
        return EarlyExits.of(self.host.model, self.host.name)

    def raster(self) -> Raster | None:
        """How the ids of a model of images lie; None of a model of texts."""
        if not Path(self.host.name).expanduser().is_dir() and not self.host.name.startswith("house:"):
            return None  # a model in memory, or of the Hub
        if not images.is_images(self.host.name):
            return None
        folder = Path(find(self.host.name))
        tokenizer = images.read_tokenizer(folder)
        codes_VC, columns = tokenizer.codes_VC, tokenizer.layout.grid
        counted = (folder / marginals.FILE).is_file()
        return Raster(len(codes_VC), columns, marginals.read(folder, codes_VC).probs_YLV if counted else None)

    def riding(self) -> Callable[[int, int], int] | None:
        """Probes beside so many guesses of a depth, of a drafter that has any."""
        return self.guesser.riding if isinstance(self.guesser, Rides) else None

    def target_costs(self) -> CostCurve:
        """Seconds of a pass of the target by its rows."""
        return self.host.costs()

    def draft_costs(self) -> CostCurve | None:
        """Seconds of a pass of the draft model, or of the layers that guess before an exit; None: next to nothing."""
        if self.recipe.needs == NEEDS_LAYERS:
            whole = self.host.costs()
            return CostCurve(whole.rows, tuple(EXIT_SHARE * seconds for seconds in whole.measured))
        return self._draft().costs() if self.recipe.needs == NEEDS_DRAFT else None

    def _trained(self, kind: str, given: str | None) -> Path | None:
        """The folder given, else the one that the target's decant.json names."""
        if given is None:
            return heads.find(self.host.name, kind)
        return HOUSE / given.removeprefix("house:") if given.startswith("house:") else Path(given).expanduser()

    def _draft(self) -> Loaded:
        if self.helper is None:
            raise BadInput(
                f"{self.recipe.name} needs a draft model and {self.host.name} names none; give one with --draft"
            )
        return self.helper


NAMES = frozenset(name for name in vars(Wiring) if not name.startswith("_")) - {
    "recipe", "host", "helper", "judge", "logits_warp", "logits_constraint", "guide", "guesser", "given", "constrained",
}  # fmt: skip


def wired(made: Callable[..., Any]) -> list[str]:
    """The fields of a part that are filled by name."""
    return [field.name for field in fields(made) if field.name in NAMES] if is_dataclass(made) else []
