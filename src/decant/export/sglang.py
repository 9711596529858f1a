"""What SGLang drafts with: the words of its launch line, a draft model's folder, heads as it loads them.

SGLang draws trees. It counts the layers that EAGLE-3 reads by their outputs, one less than decant does, and takes the
ids that an EAGLE head may guess from a file of its own.
Source: github.com/sgl-project/sglang, docs/advanced_features/speculative_decoding.md (067ad4d), srt/models/llama.py
(`set_eagle3_layers_to_capture`).
"""

from pathlib import Path
from typing import Any, Final

import torch

from decant.errors import IncompatibleParts
from decant.export import layouts, plain
from decant.export.source import Source
from decant.export.speculation import PLAIN, Launch, Speculation
from decant.models.heads.spec import NORMED, TAPPED

METHODS: Final = {  # decant's -> SGLang's
    PLAIN: None,
    "draft-model": "STANDALONE",
    "draft-tree": "STANDALONE",
    "prompt-lookup": "NGRAM",
    "eagle": "EAGLE",
    "eagle-2": "EAGLE",
    "eagle3": "EAGLE3",
}
ARCHITECTURES: Final = {"EAGLE": "LlamaForCausalLMEagle", "EAGLE3": "LlamaForCausalLMEagle3"}
TOKEN_MAP: Final = "token_map.pt"
CHECKED: Final = (
    "Validated against the format, not run: SGLang was not at hand. Weights have the names and shapes that SGLang "
    "allocates, and decant's tests hold configurations and settings against schemas after its sources (067ad4d)."
)


def write(target: Source, asked: Speculation, out: Path) -> Launch:
    """`target/`, `draft/` where something drafts. Raises IncompatibleParts for a head that SGLang has no room for."""
    settings, remarks = _settings(target, asked, out)
    plain.write(target, out / "target")
    words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = ("python3", "-m", "sglang.launch_server", "--model-path", "target", *words)
    return Launch(command, settings, remarks, (CHECKED,))


def _settings(target: Source, asked: Speculation, out: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Names of `ServerArgs`, which are the options' with underscores."""
    algorithm = METHODS[asked.method]
    if algorithm is None:
        return {}, ()
    settings: dict[str, Any] = {"speculative_algorithm": algorithm}
    if algorithm == "NGRAM":
        return settings | {
            "speculative_num_draft_tokens": asked.depth + 1,
            "speculative_ngram_min_match_window_size": asked.knobs["min_ngram"],
            "speculative_ngram_max_match_window_size": asked.knobs["ngram"],
        }, ("SGLang looks through what all requests wrote, in a tree; decant through the request's own text.",)
    settings |= {
        "speculative_draft_model_path": "draft",
        "speculative_num_steps": asked.depth,
        "speculative_eagle_topk": asked.width,
        "speculative_num_draft_tokens": _nodes(asked) + 1,  # with the root
    }
    if algorithm == "STANDALONE":
        plain.write(asked.drafter(target), out / "draft")
        return settings, ()
    assert asked.head is not None, "the folder of a head is found before an engine is asked"
    net = layouts.read(asked.head, target)
    _head(net, target, algorithm, out / "draft")
    if algorithm == "EAGLE" and net.ids_V is not None:
        torch.save(net.ids_V.tolist(), out / "draft" / TOKEN_MAP)
        settings["speculative_token_map"] = f"draft/{TOKEN_MAP}"
    return settings, ()


def _nodes(asked: Speculation) -> int:
    """Nodes of a draft, at most: `width` children of the root, and of each of as many on every level below."""
    most = asked.width + (asked.depth - 1) * asked.width**2 if asked.tree else asked.depth
    return most if asked.budget is None else min(most, asked.budget)


def _head(net: Any, target: Source, algorithm: str, out: Path) -> None:
    config = net.spec.written(ARCHITECTURES[algorithm])
    config.pop(TAPPED, None)
    if NORMED in config:
        raise IncompatibleParts(
            f"this {net.spec.kind} head adds its residual behind a norm ({NORMED}), which SGLang never does; export it "
            f"with --to vllm or --to llama.cpp, or teach one with decant distill eagle3"
        )
    if algorithm == "EAGLE3":
        outputs = [tap - 1 for tap in layouts.layers_read(net.spec, target.config.num_hidden_layers)]
        config["eagle_config"] = {"use_aux_hidden_state": True, TAPPED: outputs}
        layouts.write(out, config, *layouts.eagle3(net))
        return
    config["draft_vocab_size"] = config["vocab_size"]
    layouts.write(out, config, *layouts.eagle(net, bias=True))
