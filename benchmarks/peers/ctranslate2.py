"""CTranslate2, converted by its own converter."""

import json
from collections.abc import Iterator

import ctranslate2
from ctranslate2.converters import TransformersConverter
from transformers import AutoTokenizer

from .seam import CannotRun, Engine, Weights, versions


def engines(weights: Weights, kind: str) -> Iterator[Engine]:
    able = ctranslate2.get_supported_compute_types("cpu")
    if kind not in able:
        raise CannotRun(f"CTranslate2 computes {', '.join(sorted(able))} on this CPU, not {kind}")
    folder = weights.scratch / f"ctranslate2-{kind}"
    TransformersConverter(str(weights.folder)).convert(str(folder), quantization=kind, force=True)
    tokenizer = AutoTokenizer.from_pretrained(weights.folder)
    _name_a_beginning(folder / "config.json", tokenizer.eos_token)
    model = ctranslate2.Generator(
        str(folder), device="cpu", compute_type=kind, inter_threads=1, intra_threads=weights.threads
    )

    def generate(ids: list[int], new_tokens: int) -> list[int]:
        done = model.generate_batch(
            [tokenizer.convert_ids_to_tokens(ids)],
            max_length=new_tokens,
            min_length=new_tokens,
            end_token=tokenizer.pad_token or tokenizer.eos_token,  # min_length forbids the end; nothing else is lost
            include_prompt_in_result=False,
            sampling_topk=1,
        )
        return done[0].sequences_ids[0]

    yield Engine("", f"{versions('ctranslate2')} computing {model.compute_type}", generate)


def _name_a_beginning(file, token: str) -> None:
    """CTranslate2 does not open a model without a first token; that the prompt starts with it is not asked."""
    config = json.loads(file.read_text())
    config["bos_token"] = config["bos_token"] or token
    file.write_text(json.dumps(config))
