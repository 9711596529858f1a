"""The raster teacher as a folder that any engine reads: a Llama whose ids are codes, then classes, then "no class".

The rows of codes in its table are a linear image of the code vectors, so that it reads vectors too: the matrix is found
again by least squares. The table alone is stored in float32, as rounding would leave no matrix behind it.
Source: Sun et al. 2024, arXiv:2406.06525 (LlamaGen).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor

from decant.errors import BadInput
from decant.images.seams import ImageTokenizer
from decant.models.images.body import BodySpec
from decant.models.images.teacher import CodeModel, untrained

WEIGHTS: Final = "model.safetensors"
TABLE: Final = "model.embed_tokens.weight"
NONE: Final = "none"
APART: Final = 1e-3  # of a row of the table: what the least squares may leave


def words(codes: int, classes: Sequence[str]) -> list[str]:
    """The vocabulary: c0, c1 ..., the names of the classes, none."""
    return [*(f"c{code}" for code in range(codes)), *classes, NONE]


def write(network: CodeModel, tokenizer: ImageTokenizer, classes: Sequence[str], folder: Path) -> None:
    """Weights, configuration and vocabulary; the network itself keeps its types."""
    folder.mkdir(parents=True, exist_ok=True)
    body, codes_VC = network.body, tokenizer.codes_VC
    vocabulary = words(len(codes_VC), classes)
    weights = {f"model.{name}": weight for name, weight in body.llama.state_dict().items()}
    table_VD = torch.cat([body.inward(codes_VC), weights.pop(TABLE)])
    unsaid = torch.zeros(len(classes) + 1, body.spec.hidden)  # their ids are suppressed
    weights["lm_head.weight"] = torch.cat([network.head.weight, unsaid])
    stored = {name: weight.detach().to(torch.bfloat16).contiguous() for name, weight in weights.items()}
    save_file(stored | {TABLE: table_VD.detach().contiguous()}, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    config = body.spec.config
    config.vocab_size = len(vocabulary)
    said = {"architectures": ["LlamaForCausalLM"], **config.to_diff_dict(), "dtype": "float32"}
    _write_json(folder / "config.json", said)
    _spell(vocabulary, folder)


def write_generation(folder: Path, codes: int, classes: int, drawn: dict[str, Any]) -> None:
    """generation_config.json: ids of classes are never said. drawn: temperature, top_k, top_p."""
    fields = {"do_sample": True, **drawn, "suppress_tokens": list(range(codes, codes + classes + 1))}
    _write_json(folder / "generation_config.json", fields)


def read(folder: Path, tokenizer: ImageTokenizer, classes: int) -> CodeModel:
    """The network of a folder, in float32. Raises BadInput for a table that is no linear image of the codes."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = {name: weight.float() for name, weight in load_file(folder / WEIGHTS).items()}
    codes_VC, layout = tokenizer.codes_VC, tokenizer.layout
    codes = len(codes_VC)
    spec = BodySpec(
        codes_VC.shape[1],
        classes,
        layout.sides,
        layout.grid,
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["intermediate_size"],
    )
    table_VD, head_VD = weights.pop(TABLE), weights.pop("lm_head.weight")
    network = untrained(spec, codes)
    llama = {name.removeprefix("model."): weight for name, weight in weights.items()}
    network.body.llama.load_state_dict(llama | {"embed_tokens.weight": table_VD[codes:]})
    network.body.inward.load_state_dict({"weight": _inward(codes_VC, table_VD[:codes], folder)})
    network.head.load_state_dict({"weight": head_VD[:codes]})
    return network.eval().requires_grad_(False)


def _inward(codes_VC: Tensor, table_VD: Tensor, folder: Path) -> Tensor:
    """weight_DC with table = codes weight^T."""
    weight_CD = torch.linalg.lstsq(codes_VC.double(), table_VD.double()).solution
    apart = float((codes_VC.double() @ weight_CD - table_VD).abs().max() / table_VD.abs().max())
    if apart > APART:
        raise BadInput(
            f"the table of {folder} is no linear image of its code vectors: rows differ by {apart:.1e} of the largest "
            f"entry; it reads ids only, or its image_tokenizer is another model's"
        )
    return weight_CD.T.float()


def _spell(vocabulary: list[str], folder: Path) -> None:
    """One id a word; a word that is unknown asks for no class."""
    ids = {word: place for place, word in enumerate(vocabulary)}
    speller = Tokenizer(models.WordLevel(ids, unk_token=NONE))
    speller.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    speller.save(str(folder / "tokenizer.json"))
    fields = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": NONE, "clean_up_tokenization_spaces": False}
    _write_json(folder / "tokenizer_config.json", fields)


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
