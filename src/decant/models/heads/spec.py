"""What a head is, and how config.json says it: public keys where there are any, the rest under `decant`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, final

from decant.errors import BadInput

KEYS: Final = {  # ours -> config.json's
    "hidden": "hidden_size",
    "vocab": "vocab_size",
    "intermediate": "intermediate_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "draft_vocab": "draft_vocab_size",
    "eps": "rms_norm_eps",
    "positions": "max_position_embeddings",
    "rope": "rope_parameters",
}
OURS: Final = ("kind", "teacher", "teacher_layers", "taps", "knobs")
TAPPED: Final = "eagle_aux_hidden_state_layer_ids"
NORMED: Final = "norm_before_residual"  # a knob of EAGLE-3, as vLLM and speculators call it
SHORT: Final = 12  # layers below which the public choice of tapped layers says the same thing twice


@final
@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A head's shape, and of whom it was taught.

    kind:        of head: "medusa", "eagle", "eagle3" ...
    teacher:     as the user named it; teacher_layers: how many it has, 0 if nobody wrote it down.
    hidden:      the teacher's width, which is the head's unless its knobs say otherwise.
    taps:        the teacher's layers that it reads (`types.Taps`).
    draft_vocab: how many ids it can guess; 0: all of them.
    rope:        as in config.json.
    knobs:       what this kind of head knows besides.
    """

    kind: str
    teacher: str
    hidden: int
    vocab: int
    teacher_layers: int = 0
    taps: tuple[int, ...] = (-1,)
    intermediate: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    draft_vocab: int = 0
    eps: float = 1e-6
    positions: int = 2048
    rope: Mapping[str, Any] = field(default_factory=lambda: {"rope_type": "default", "rope_theta": 10_000.0})
    knobs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kv_heads and self.heads % self.kv_heads:
            raise BadInput(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.draft_vocab > self.vocab:
            raise BadInput(f"a draft vocabulary of {self.draft_vocab} ids is more than the teacher's {self.vocab}")

    @classmethod
    def beside(cls, kind: str, teacher: str, config: Any, **changes: Any) -> "HeadSpec":
        """For a teacher of this configuration, in the teacher's own proportions but for `changes`."""
        text = config.get_text_config()
        heads = text.num_attention_heads
        spec = cls(
            kind=kind,
            teacher=teacher,
            hidden=text.hidden_size,
            vocab=text.vocab_size,
            teacher_layers=text.num_hidden_layers,
            intermediate=text.intermediate_size,
            heads=heads,
            kv_heads=getattr(text, "num_key_value_heads", None) or heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
            eps=getattr(text, "rms_norm_eps", 1e-6),
            positions=getattr(text, "max_position_embeddings", 2048),
            rope=dict(getattr(text, "rope_parameters", None) or {"rope_type": "default", "rope_theta": 10_000.0}),
        )
        return replace(spec, **changes)

    @classmethod
    def read(cls, config: Mapping[str, Any], kinds: Mapping[str, str]) -> "HeadSpec":
        """From config.json. kinds: architectures of public heads -> the kind here.

        Raises BadInput for no head, and for one whose mathematics is not known here.
        """
        flat = {**config, **config.get("transformer_layer_config", {})}
        ours = dict(config.get("decant", {}))
        named = [kinds[name] for name in config.get("architectures") or () if name in kinds]
        if not ours and not named:
            raise BadInput(
                f"config.json describes no head that is known here: its architectures are "
                f"{config.get('architectures')}, and a head is one of {', '.join(sorted(kinds))}"
            )
        if flat.get("norm_output"):  # nothing in the weights would tell
            raise BadInput(
                "config.json says norm_output: this head reads its own states behind its last norm (EAGLE 3.1), which "
                "decant does not compute; take one without it, or teach one with decant distill eagle3"
            )
        fields = {name: flat[key] for name, key in KEYS.items() if flat.get(key) is not None}
        if "rope_parameters" not in flat:
            scaling = flat.get("rope_scaling") or {}
            kind = scaling.get("rope_type") or scaling.get("type") or "default"
            fields["rope"] = {**scaling, "rope_type": kind, "rope_theta": flat.get("rope_theta", 10_000.0)}
        if fields.get("draft_vocab") == fields.get("vocab"):
            fields["draft_vocab"] = 0
        fields.setdefault("kv_heads", fields.get("heads", 0))
        if not fields.get("head_dim") and fields.get("heads"):
            fields["head_dim"] = fields["hidden"] // fields["heads"]
        ours.setdefault("kind", named[0] if named else "")
        ours.setdefault("teacher", _verifier(config))
        ours["taps"] = tuple(ours.get("taps") or _tapped(config))
        if flat.get(NORMED):
            ours["knobs"] = {**ours.get("knobs", {}), NORMED: True}
        return cls(**fields, **{name: ours[name] for name in OURS if name in ours})

    def written(self, architecture: str) -> dict[str, Any]:
        """config.json."""
        fields = asdict(self)
        public = {key: fields[name] for name, key in KEYS.items() if fields[name] or name == "draft_vocab"}
        public["draft_vocab_size"] = self.draft_vocab or self.vocab
        if min(self.taps, default=0) > 0:  # nobody else counts what lies behind the last norm as -1
            public[TAPPED] = list(self.taps)
        if self.knobs.get(NORMED):
            public[NORMED] = True
        public |= {"rope_theta": self.rope.get("rope_theta"), "hidden_act": "silu"}
        public |= {"num_hidden_layers": self.knobs.get("layers", 1)}
        public |= {"tie_word_embeddings": False, "dtype": "bfloat16", "model_type": "llama"}
        ours = {name: fields[name] for name in OURS} | {"taps": list(self.taps)}
        return {"architectures": [architecture], **public, "decant": ours}

    def tapped(self, layers: int) -> tuple[int, ...]:
        """Where the tapped layers lie in a target of so many: enlarged targets spread the old ones (`models/widen`)."""
        taps = self.taps or default_taps(self.teacher_layers or layers)
        few = self.teacher_layers or layers
        return tuple(layer if layer <= 0 else layer * layers // few for layer in taps)


def default_taps(layers: int) -> tuple[int, int, int]:
    """Low, middle, high: the outputs of layers 1, L/2 - 1 and L - 4, counted from 0, as EAGLE-3 has them; of a short
    model thirds."""
    if layers >= SHORT:
        return 2, layers // 2, layers - 3
    return max(1, layers // 3), max(1, 2 * layers // 3), -1


def _tapped(config: Mapping[str, Any]) -> list[int]:
    """Layers by their inputs, as vLLM and speculators write them, else by their outputs, as SGLang does under
    `eagle_config`. Source: sgl-project/sglang, srt/models/llama.py (`set_eagle3_layers_to_capture`)."""
    return config.get(TAPPED) or [layer + 1 for layer in (config.get("eagle_config") or {}).get(TAPPED) or ()]


def _verifier(config: Mapping[str, Any]) -> str:
    return ((config.get("speculators_config") or {}).get("verifier") or {}).get("name_or_path") or ""
