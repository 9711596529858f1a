"""README.md of an exported model: front matter as the Hub reads it, what it is, how it was made, what was measured.

Source: huggingface.co/docs/hub/model-cards (front matter: license, library_name, pipeline_tag, base_model, tags).
"""

from collections.abc import Iterable

from decant.export.evidence import Evidence
from decant.export.source import Source
from decant.models.machine import machine


def front(source: Source, library: str | None, tags: Iterable[str] = ()) -> str:
    """Between dashes; a licence and an original only where they are known."""
    fields = {"license": source.licence, "library_name": library, "pipeline_tag": "text-generation"}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    lines += [f"base_model: {source.hub}"] if source.hub else []
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in ("decant", *tags)), "---", ""])


def table(source: Source) -> str:
    """What it is."""
    rows = [f"| {name} | {value} |" for name, value in source.facts().items()]
    return "\n".join(["| | |", "|---|---|", *rows, ""])


def made(source: Source, to: str) -> str:
    """How."""
    revision = f" at revision {source.revision}" if source.revision else ""
    return f"Made from `{source.name}`{revision} by decant {machine()['decant']}, `decant export --to {to}`.\n"


def plain(source: Source, evidence: Evidence) -> str:
    """Of a folder for transformers."""
    licence = "" if source.licence else "\nThe licence is the original's; its card names none.\n"
    return f"""{front(source, "transformers")}# {source.title}

{made(source, "transformers")}
{table(source)}
## Load it

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(".")
```

The weights are the original's, bit for bit; so are the tokenizer and its chat template. decant reads the folder too.
{evidence.section()}{licence}"""


def gguf(source: Source, weights: str, remarks: Iterable[str], evidence: Evidence) -> str:
    """Of a folder with one GGUF file."""
    lost = "another model than the original: matrices are rounded" if weights == "q8_0" else "matrices as they were"
    if weights == "f16":
        lost = "matrices in float16"
    notes = "".join(f"\n{remark}\n" for remark in remarks)
    return f"""{front(source, None, ("gguf",))}# {source.title} as GGUF

{made(source, "gguf")}
{table(source)}
Matrices are stored as {weights} ({lost}), norms in float32. The file was read back with the package gguf; decant's
tests load such files with llama-cpp-python and hold what they say against decant.
{notes}
## Run it

```sh
llama-cli --model {source.title}.gguf
```
{evidence.section()}"""
