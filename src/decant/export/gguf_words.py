"""A tokenizer as GGUF has it: pieces, what kind each is, merges, special ids, chat template.

Two kinds: byte-level BPE, and SentencePiece's BPE with bytes for what no piece writes. Of the former llama.cpp splits
text before it merges, by rules that it knows by name alone; where a tokenizer splits otherwise the nearest name is
written, and the export says so: prompts should then be sent as ids. Of the latter it merges whatever pair makes the
piece of the highest score: scores are the ranks of merges, the first the highest.
Source: github.com/ggml-org/llama.cpp, conversion/llama.py (7bca1fd) and src/llama-vocab.cpp.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, final

from decant.errors import BadInput, MissingExtra

GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LATER: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE: Final = re.compile(r"<0x[0-9A-F]{2}>")
SPACE: Final = "\u2581"
NEAREST: Final = "gpt-2"
SPLITS: Final = {  # regular expression -> llama.cpp's name
    GPT2: "gpt-2",
    LATER % r"\p{N}{1,3}": "llama-bpe",
    LATER % r"\p{N}": "qwen2",
}


@final
@dataclass(frozen=True, slots=True)
class Spelling:
    """split: llama.cpp's name of how text is split; known: whether that is how the tokenizer splits it."""

    split: str
    known: bool


def package() -> Any:
    """The package gguf. Raises MissingExtra."""
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise MissingExtra("gguf is not installed: pip install 'decant[gguf]'") from error
    return gguf


def spell(writer: Any, tokenizer: Any, vocab: int, ends: frozenset[int] = frozenset()) -> Spelling:
    """Write all that GGUF says of a tokenizer. vocab: ids of the model, of which the last may be unused. ends: those
    that end a text.

    Raises BadInput for a tokenizer of neither kind.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    model, kinds = state["model"], _kinds(state, "pre_tokenizer")
    if model.get("type") == "BPE" and "ByteLevel" in kinds:
        spelling = _splitting(state["pre_tokenizer"], model)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(spelling.split)
        _pieces(writer, state, vocab)
    elif model.get("type") == "BPE" and model.get("byte_fallback") and _unsplit(state):
        spelling = Spelling("default", True)
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre(spelling.split)
        _scores(writer, model["merges"], _pieces(writer, state, vocab))
        writer.add_add_space_prefix(tokenizer.tokenize("x", add_special_tokens=False)[0].startswith(SPACE))
    else:
        raise BadInput(
            f"{type(tokenizer).__name__} is neither byte-level BPE nor SentencePiece's with bytes "
            f"({model.get('type') or 'no tokenizer.json'}), which are written as GGUF here; llama.cpp's "
            f"convert_hf_to_gguf.py knows others"
        )
    _specials(writer, tokenizer, ends)
    if isinstance(template := getattr(tokenizer, "chat_template", None), str):
        writer.add_chat_template(template)
    return spelling


def _pieces(writer: Any, state: dict[str, Any], vocab: int) -> list[str]:
    """What every id writes, unused ones included; merges where a piece is not chosen by its score."""
    kinds = package().TokenType
    tokens = [f"[unused {token}]" for token in range(vocab)]
    types = [kinds.UNUSED] * vocab
    for text, token in state["model"]["vocab"].items():
        if token < vocab:
            byte = state["model"].get("byte_fallback") and BYTE.fullmatch(text)
            tokens[token], types[token] = text, kinds.BYTE if byte else kinds.NORMAL
    for row in state["added_tokens"]:
        if row["id"] < vocab:
            tokens[row["id"]] = row["content"]
            types[row["id"]] = kinds.CONTROL if row["special"] else kinds.USER_DEFINED
    unknown = state["model"]["vocab"].get(state["model"].get("unk_token") or "")
    if unknown is not None and unknown < vocab and state["model"].get("byte_fallback"):
        types[unknown] = kinds.UNKNOWN
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if not state["model"].get("byte_fallback"):
        writer.add_token_merges([" ".join(_pair(merge)) for merge in state["model"]["merges"]])
    return tokens


def _scores(writer: Any, merges: list[Any], tokens: list[str]) -> None:
    """Of pieces that no merge makes, the lowest."""
    ranks = {"".join(_pair(merge)): -float(rank) for rank, merge in reversed(list(enumerate(merges)))}
    writer.add_token_scores([ranks.get(text, -float(len(merges))) for text in tokens])


def _pair(merge: Any) -> list[str]:
    return merge.split(" ") if isinstance(merge, str) else list(merge)


def _unsplit(state: dict[str, Any]) -> bool:
    """Whether pieces may reach over spaces, each of which is the character U+2581."""
    pre = state.get("pre_tokenizer")
    if pre is None:
        return "Replace" in _kinds(state, "normalizer")
    return pre["type"] == "Metaspace" and not pre.get("split", True)


def _specials(writer: Any, tokenizer: Any, ends: frozenset[int]) -> None:
    """Ids by their roles, and whether a text begins or ends with one. GGUF has room for two that end a text."""
    roles = {role: getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "unk", "pad", "eos")}
    if ends and roles["eos"] not in ends:
        roles["eos"] = min(ends)
    roles["eot"] = min(ends - {roles["eos"]}, default=None)
    for role, token in roles.items():
        if token is not None:
            getattr(writer, f"add_{role}_token_id")(int(token))
    ids = list(tokenizer("x").input_ids)
    writer.add_add_bos_token(ids[:1] == [roles["bos"]])
    writer.add_add_eos_token(ids[-1:] == [roles["eos"]])


def _splitting(pre: dict[str, Any], model: dict[str, Any]) -> Spelling:
    parts = pre.get("pretokenizers", [pre])
    level = next(part for part in parts if part["type"] == "ByteLevel")
    others = [part for part in parts if part["type"] != "ByteLevel"]
    name = None
    if not others and level.get("use_regex", True):
        name = "gpt-2"
    elif [part["type"] for part in others] == ["Digits"] and others[0]["individual_digits"] and level.get("use_regex"):
        name = "smollm"
    elif [part["type"] for part in others] == ["Split"] and not level.get("use_regex", True):
        name = SPLITS.get(others[0]["pattern"].get("Regex", ""))
    if level.get("add_prefix_space") or (name == "llama-bpe") != bool(model.get("ignore_merges")):
        name = None  # llama.cpp takes whole words of the vocabulary first under that name, and under no other
    return Spelling(name or NEAREST, name is not None)


def _kinds(state: dict[str, Any], stage: str) -> set[str]:
    """The parts of a stage, or of its sequence."""
    part = state.get(stage) or {}
    several = part.get("pretokenizers") or part.get("normalizers") or ([part] if part else [])
    return {one["type"] for one in several}
