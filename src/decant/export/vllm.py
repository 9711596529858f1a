"""What vLLM drafts with: the JSON of `--speculative-config`, a draft model's folder, heads as it loads them.

vLLM drafts chains. Its EAGLE joins state and token without a bias, and counts the layers that EAGLE-3 reads by their
inputs, as decant does.
Source: github.com/vllm-project/vllm, vllm/config/speculative.py (002e77c), docs/features/speculative_decoding/README.md
(01ed47b), transformers_utils/configs/{eagle,medusa}.py (23c5aa9, 0531c22).
"""

from pathlib import Path
from typing import Any, Final

from decant.export import layouts, plain
from decant.export.source import Source
from decant.export.speculation import PLAIN, SHARED, Launch, Speculation

METHODS: Final = {  # decant's -> vLLM's
    PLAIN: None,
    "draft-model": "draft_model",
    SHARED: "draft_model",
    "prompt-lookup": "ngram",
    "suffix": "suffix",
    "medusa": "medusa",
    "eagle": "eagle",
    "eagle-2": "eagle",
    "eagle3": "eagle3",
}
ARCHITECTURES: Final = {"eagle": "EagleLlamaForCausalLM", "eagle3": "LlamaForCausalLMEagle3"}
CHECKED: Final = (
    "Validated against the format, not run: vLLM was not at hand. Weights have the names and shapes that vLLM "
    "allocates, and decant's tests hold configurations and settings against schemas after its sources (002e77c)."
)


def write(target: Source, asked: Speculation, out: Path) -> Launch:
    """`target/`, `draft/` where something drafts. Raises IncompatibleParts for a head that vLLM has no room for."""
    settings, remarks = _settings(target, asked, out)
    plain.write(target, out / "target")
    command = ("vllm", "serve", "target")
    if settings:
        command += ("--speculative-config", '"$(cat speculative.json)"')
    return Launch(command, settings, remarks, (CHECKED,))


def _settings(target: Source, asked: Speculation, out: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    method = METHODS[asked.method]
    if method is None:
        return {}, ()
    settings: dict[str, Any] = {"method": method, "num_speculative_tokens": asked.depth}
    remarks: tuple[str, ...] = ("vLLM drafts a chain where decant draws a tree.",) if asked.tree else ()
    if method == "ngram":
        return settings | {
            "prompt_lookup_max": asked.knobs["ngram"],
            "prompt_lookup_min": asked.knobs["min_ngram"],
        }, remarks
    if method == "suffix":
        return settings | {
            "suffix_decoding_max_tree_depth": asked.knobs["longest"] + asked.depth,
            "suffix_decoding_max_spec_factor": asked.knobs["factor"],
            "suffix_decoding_min_token_prob": asked.knobs["floor"],
        }, (*remarks, "vLLM takes suffix decoding from the package arctic-inference.")
    settings["model"] = "draft"
    if method == "draft_model":
        plain.write(asked.drafter(target), out / "draft")
        if asked.method == SHARED:
            settings["use_heterogeneous_vocab"] = True
        return settings, remarks
    assert asked.head is not None, "the folder of a head is found before an engine is asked"
    net = layouts.read(asked.head, target)
    if method == "medusa":
        _medusa(net, target, out / "draft")
        return settings | {"num_speculative_tokens": net.count}, remarks
    return settings, (*remarks, *_eagle(net, target, method, out / "draft"))


def _eagle(net: Any, target: Source, method: str, out: Path) -> tuple[str, ...]:
    config = net.spec.written(ARCHITECTURES[method])
    if method == "eagle3":
        taps = layouts.layers_read(net.spec, target.config.num_hidden_layers)
        config["eagle_aux_hidden_state_layer_ids"] = taps
        config["eagle_config"] = {"use_aux_hidden_state": True, "eagle_aux_hidden_state_layer_ids": taps}
        layouts.write(out, config, *layouts.eagle3(net))
        return ()
    config["draft_vocab_size"] = config["vocab_size"]
    layouts.write(out, config, *layouts.eagle(net, bias=False))
    if net.ids_V is None:
        return ()
    return (f"decant guesses {len(net.ids_V):,} ids with this head, vLLM all {net.spec.vocab:,}.",)


def _medusa(net: Any, target: Source, out: Path) -> None:
    """vLLM takes every key of config.json with `num` and `heads` in it for the number of heads: no other is written."""
    spec = net.spec
    config = {
        "architectures": ["MedusaModel"],
        "model_type": "medusa",
        "hidden_size": spec.hidden,
        "vocab_size": spec.vocab,
        "truncated_vocab_size": spec.draft_vocab or spec.vocab,
        "num_heads": net.count,
        "num_hidden_layers": net.depth,
        "medusa_fc_bias": True,
        "original_lm_head": net.shared,
        "dtype": "bfloat16",
    }
    layouts.write(out, config, *layouts.medusa(net, target))
