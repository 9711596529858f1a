"""From a name to a model that is ready to decode: a folder, `house:NAME`, a Hub id, or a model already in memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from decant.errors import BadInput, DecantError, IncompatibleParts
from decant.models import rounded
from decant.models.attention import NAME as FUSED
from decant.models.causal import Causal
from decant.models.check import Exact, obeys_trees, settle
from decant.models.fast.lean import Lean
from decant.models.fast.reading import take, why_not
from decant.models.folder import find, named_draft, refuse_pictures
from decant.models.linears import steady
from decant.models.loaded import Loaded
from decant.models.masked import reading as foreign
from decant.models.masked.canvas import Canvas
from decant.models.masked.convention import Convention
from decant.models.masked.naming import known_ids
from decant.models.padded import Padded
from decant.models.speller import Speller
from decant.models.weights import WEIGHTS, Rounding, layouts, refuse_rounding, settled
from decant.models.widen import widen as enlarge

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    model: str | PreTrainedModel,
    *,
    dtype: str = "auto",
    device: str = "auto",
    exact: Exact = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
    widen: str | None = None,
    layers: Literal["grow", "keep"] = "grow",
    lean: bool = True,
    weights: Rounding = "auto",
) -> Loaded:
    """Load a causal language model for decoding.

    model:  a folder in Hugging Face format, `house:target`, `house:draft`, a Hub id, or a loaded `PreTrainedModel`
        (which is used as it is: neither its attention nor its weights' layout is touched).
    dtype:  auto is config.json's. Safetensors only, never pickle.
    exact:  auto is on where it costs at most 20 % (`models/check.py`).
    lean:   run the families of `models/fast/reading.py` through decant's own forward pass; False: through transformers.
    weights: auto is as stored, which is int8 in a folder of `decant export`. int8 (CPU, the families of `lean`) rounds
        every matrix but the embedding: half the bytes of bfloat16, but another model. int4: a third of them, and a
        worse model; the output matrix in eight bits, matrices that are not whole groups of 32 inputs and blocks of 16
        outputs as stored. benchmarks/weights.py measures what each unlearns. dtype is the activations'.
    widen:  a parameter count such as "0.4B": enlarge without changing what the model says, to measure costs.
    Raises BadInput for what the user can mend, IncompatibleParts for a model that cannot be decoded here.
    """
    if dtype not in {"auto", *DTYPES}:
        raise BadInput(f"dtype {dtype!r} is unknown; take auto, {', '.join(DTYPES)}")
    if weights not in WEIGHTS:
        raise BadInput(f"weights {weights!r} are unknown; take {', '.join(WEIGHTS[:-1])} or {WEIGHTS[-1]}")
    place = _device(device)
    if isinstance(model, PreTrainedModel):
        name, network, folder = model.config.name_or_path or type(model).__name__, model.eval(), None
    else:
        name = model
        folder = find(model)
        refuse_pictures(folder, model)
        network = _read(folder, dtype, revision, trust_remote_code)
        tokenizer = tokenizer or _tokenizer(folder, revision, trust_remote_code)
    _refuse_stateful(network)
    ours = not isinstance(model, PreTrainedModel)
    weights = settled(weights, name, network, widen)
    if weights != "auto":
        refuse_rounding(weights, network, place, ours and lean)
    if widen is not None:
        network = enlarge(network, widen, layers=layers)
    parameters = sum(weight.numel() for weight in network.parameters())
    dense = not _experts(network)
    if not dense and exact == "on":
        network.set_experts_implementation("batched_mm")  # every expert sees every row, so row counts do not matter
    ends, defaults, positions = ends_of(network, tokenizer), _defaults(network), _positions(network)
    packed, filling, runs = 0, None, None
    if ours:
        network = network.eval().requires_grad_(False)
        torch.nn.Module.to(network, place)
        if lean and why_not(network) is None:
            runs = take(network, positions, *layouts(weights, network.dtype))
            packed = runs.packed
        else:
            _fuse_attention(network)
            packed, filling = steady(network)
    causal = Causal.over(runs or Padded.of(network, positions, filling))
    masked = _masked(network, runs, tokenizer, name)
    causal = replace(causal, trees=masked is None and obeys_trees(causal))
    loaded = Loaded(
        name=name,
        model=causal,
        tokenizer=tokenizer,
        ends=ends,
        defaults=defaults,
        draft=named_draft(folder),
        exact_note="a canvas is filled in: exact mode is for models that speak from left to right" * bool(masked),
        setting={
            "dtype": str(network.dtype).removeprefix("torch."),
            "weights": str(network.dtype).removeprefix("torch.") if weights == "auto" else weights,
            "packed": packed,
            "widen": widen,
            "parameters": parameters,
        },
        masked=masked,
    )
    return loaded if masked is not None else _exactly(loaded.tuned(), exact, dense)


def _exactly(loaded: Loaded, exact: Exact, dense: bool) -> Loaded:
    """In the mode that applies, which it says."""
    if not dense and exact == "auto":
        note = (
            "exact mode is off: in a mixture of experts the rows that an expert sees vary; --exact on runs every expert"
        )
        return replace(loaded, exact_note=note)
    rows = None if exact == "off" else loaded.shared_rows()
    causal, note = settle(loaded.model, exact, rows)
    return replace(loaded, model=causal, exact_note=note)


def stored(
    model: str, revision: str | None = None, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    """A model as transformers reads it, in its own types, and its tokenizer. Raises BadInput."""
    folder = find(model)
    network = _read(folder, "auto", revision, trust_remote_code)
    return network, _tokenizer(folder, revision, trust_remote_code)


def speller(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Speller:
    """A model's tokenizer; its weights are not read. Raises BadInput."""
    tokenizer = _tokenizer(find(model), revision, trust_remote_code)
    if tokenizer is None:
        raise BadInput(f"{model} has no tokenizer files; put tokenizer.json beside the weights")
    return Speller(model, tokenizer)


def _read(name: str, dtype: str, revision: str | None, trust_remote_code: bool) -> PreTrainedModel:
    try:
        if (said := foreign.announced(name, revision)) is not None:
            return foreign.read(name, said, "auto" if dtype == "auto" else DTYPES[dtype], revision)
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
        if rounded.is_rounded(config):
            return rounded.read(name, config, "auto" if dtype == "auto" else DTYPES[dtype], revision)
        return AutoModelForCausalLM.from_pretrained(
            name,
            config=config,
            dtype="auto" if dtype == "auto" else DTYPES[dtype],
            revision=revision,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
        )
    except DecantError:
        raise
    except Exception as error:  # transformers raises whatever its parts raise; the user needs the sentence
        where = "" if Path(name).is_dir() else ", nor is there a folder of that name"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(f"{name} could not be loaded{where}: {reason}") from error


def _tokenizer(name: str, revision: str | None, trust_remote_code: bool) -> PreTrainedTokenizerBase | None:
    folder = Path(name)
    if folder.is_dir() and not [*folder.glob("tokenizer*"), *folder.glob("*.model"), *folder.glob("vocab.json")]:
        return None
    try:
        if foreign.announced(name, revision) is not None:
            return foreign.speller(name, revision)
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except Exception as error:  # as above
        raise BadInput(f"the tokenizer of {name} could not be loaded: {error}") from error


def _masked(
    network: PreTrainedModel, runs: Lean | None, tokenizer: PreTrainedTokenizerBase | None, name: str
) -> Canvas | None:
    """The model as one that fills in masks, if it is one. Raises IncompatibleParts for one of a strange family."""
    convention = Convention.of(network.config)
    if convention is None:
        return None
    if runs is None:
        raise IncompatibleParts(
            f"{name} fills in masks and is a {type(network).__name__}, which decant's own forward pass does not know "
            f"({why_not(network) or 'lean=False'}); it reads Llama, Qwen2, Qwen3, Mistral and Phi-3"
        )
    return Canvas(runs, convention, None if tokenizer is None else known_ids(tokenizer))


def _refuse_stateful(network: PreTrainedModel) -> None:
    """Recurrent models run with a KV cache argument and are silently wrong."""
    if getattr(network, "_is_stateful", False):
        raise IncompatibleParts(
            f"{type(network).__name__} keeps a recurrent state that cannot be rolled back to an accepted draft; "
            f"decant decodes attention models with a KV cache"
        )


def _fuse_attention(network: PreTrainedModel) -> None:
    """Switch to our attention call where it says what the model's own says: it knows no sinks, biases or caps."""
    own = network.config._attn_implementation
    if own != "sdpa":
        return
    ids = torch.arange(6, device=network.device)[None] % network.config.get_text_config().vocab_size
    with torch.inference_mode():
        where = torch.arange(6, device=ids.device)[None]
        want = network(ids, position_ids=where, use_cache=False).logits
        network.set_attn_implementation(FUSED)
        least = torch.finfo(network.dtype).min
        causal = torch.full((1, 1, 6, 6), least, dtype=network.dtype, device=ids.device).triu(1)
        try:
            have = network(ids, attention_mask=causal, position_ids=where, use_cache=False).logits
            same = torch.allclose(have, want, rtol=0, atol=float(0.02 * want.abs().max()))
        except (RuntimeError, ValueError, TypeError, IndexError):
            same = False
    if not same:
        network.set_attn_implementation(own)


def _experts(network: PreTrainedModel) -> bool:
    config = network.config.get_text_config()
    counts = (getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    return any(count and count > 1 for count in counts)


def _positions(network: PreTrainedModel) -> int:
    """Positions that the model was made for. RoPE types that change frequencies behind a switch (cached keys would
    keep the old ones) end at the switch."""
    config = network.config.get_text_config()
    positions = int(getattr(config, "max_position_embeddings", 0) or 2**31 - 1)
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in {"longrope", "dynamic"}:
        positions = int(rope.get("original_max_position_embeddings") or positions)
    return positions


def ends_of(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> frozenset[int]:
    """Ids that end a text: as generation_config.json says, else config.json, else the tokenizer."""
    ends = network.generation_config.eos_token_id if network.generation_config else None
    ends = ends if ends is not None else network.config.get_text_config().eos_token_id
    ends = ends if ends is not None else getattr(tokenizer, "eos_token_id", None)
    return frozenset() if ends is None else frozenset([ends] if isinstance(ends, int) else ends)


def _defaults(network: PreTrainedModel) -> dict[str, Any]:
    said = network.generation_config.to_diff_dict() if network.generation_config else {}
    return {name: value for name, value in said.items() if value is not None}


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"device {name!r} is not to be had here; take cpu{' or cuda' * torch.cuda.is_available()}"
        ) from error
    return place
