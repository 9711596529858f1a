"""What formats are called; nothing here needs torch, so that a misspelt name is answered at once."""

from typing import Final

from decant.errors import BadInput

TITLES: Final = {"vllm": "vLLM", "sglang": "SGLang", "llama.cpp": "llama.cpp"}
FORMATS: Final = ("transformers", "int8", "gguf", *TITLES)


def known(formats: str) -> tuple[str, ...]:
    """`a,b` taken apart. Raises BadInput for a name of no format, or one that is there twice."""
    names = tuple(name.strip() for name in formats.split(",") if name.strip())
    strange = [name for name in names if name not in FORMATS]
    if strange or not names:
        raise BadInput(f"--to {formats!r} names no format {strange[0] if strange else ''!r}; take {', '.join(FORMATS)}")
    if len(set(names)) < len(names):
        raise BadInput(f"--to {formats!r} names a format twice; leave one")
    return names
