"""Every format by its name, and the run that writes those asked for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final, final

from decant.errors import BadInput, DecantError
from decant.export import gguf_file, launching, llama_cpp, model_card, plain, sglang, vllm
from decant.export.claim import NOTE, claim, files, note, refuse_foreign, writing
from decant.export.compressed import export as rounded
from decant.export.evidence import Evidence
from decant.export.names import TITLES
from decant.export.source import Source
from decant.export.speculation import Launch, Speculation

ENGINES: Final[dict[str, ModuleType]] = {"vllm": vllm, "sglang": sglang, "llama.cpp": llama_cpp}


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What to write, and where: one format into `out` itself, each of several into a folder of its name there.

    weights: GGUF's type of matrices. speculation: what engines draft with; called once the model is read.
    settings: what tells this export from another of the same model, for decant.json.
    """

    model: str
    out: Path
    formats: tuple[str, ...]
    weights: str = "auto"
    speculation: Callable[[Source], Speculation] = lambda target: Speculation()
    evidence: Evidence = field(default_factory=Evidence)
    revision: str | None = None
    trust_remote_code: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


def refuse_method(engine: str, method: str) -> None:
    """Raises BadInput, with the engines that know it, for a method that the engine has no words for."""
    if method in ENGINES[engine].METHODS:
        return
    others = [TITLES[name] for name, module in ENGINES.items() if method in module.METHODS]
    elsewhere = f"{method} can be exported to {' and '.join(others)}" if others else f"{method} is decant's own"
    raise BadInput(
        f"{TITLES[engine]} has nothing that drafts as {method} does; it knows "
        f"{', '.join(ENGINES[engine].METHODS)}; {elsewhere}"
    )


def run(asked: Asked, watch: Callable[[str], None] = lambda text: None) -> list[dict[str, Any]]:
    """A report of each format: `to`, `out`, `files`, and what else it says. Raises BadInput, IncompatibleParts and
    MissingExtra before anything of a format is written."""
    folders = {to: asked.out if len(asked.formats) == 1 else asked.out / to for to in asked.formats}
    for to, out in folders.items():
        refuse_foreign(out, _made(asked, to))
    reports = []
    source = Source.open(asked.model, asked.revision, asked.trust_remote_code) if set(folders) - {"int8"} else None
    speculation = asked.speculation(source) if source is not None and set(folders) & set(ENGINES) else Speculation()
    for to in set(folders) & set(ENGINES):
        refuse_method(to, speculation.method)
    for to, out in folders.items():
        watch(f"writing {to} to {out}")
        if source is None or to == "int8":
            found = rounded(asked.model, out, revision=asked.revision, trust_remote_code=asked.trust_remote_code)
        else:
            with _claimed(out, _made(asked, to)):
                found = _write(source, to, speculation, asked, out)
        asked.evidence.copy(out)
        reports.append({"to": to, "out": str(out), **found, "files": files(out)})
    return reports


def _write(source: Source, to: str, speculation: Speculation, asked: Asked, out: Path) -> dict[str, Any]:
    evidence, made = asked.evidence, _made(asked, to)
    if to == "transformers":
        plain.write(source, out)
        note(out, {"export": made, **source.named()})
        (out / "README.md").write_text(model_card.plain(source, evidence), "utf-8")
        return {"export": made}
    if to == "gguf":
        done = gguf_file.write(
            source.network, source.tokenizer, out / f"{source.title}.gguf", asked.weights, source.title
        )
        remarks = llama_cpp.splitting(done)
        (out / "README.md").write_text(model_card.gguf(source, done.weights, remarks, evidence), "utf-8")
        return {"export": made, "weights": done.weights, "remarks": remarks}
    more = {"weights": asked.weights} if to == "llama.cpp" else {}
    launch: Launch = ENGINES[to].write(source, speculation, out, **more)
    launching.write(launch, out)
    for name, model in (("target", source), ("draft", speculation.draft)):
        if model is not None and (out / name / "tokenizer.json").is_file():
            (out / name / "README.md").write_text(model_card.plain(model, Evidence()), "utf-8")
    (out / "README.md").write_text(launching.card(source, to, speculation, launch, evidence), "utf-8")
    return {
        "export": made,
        "method": speculation.method,
        "command": " ".join(launch.command),
        "settings": dict(launch.settings),
        "remarks": list(launch.remarks),
        "checked": list(launch.checked),
    }


def _made(asked: Asked, to: str) -> dict[str, Any]:
    made = {"of": asked.model, "revision": asked.revision}
    if to == "int8":
        return {**made, "weights": "int8"}
    return {**made, "to": to, **({} if to == "transformers" else asked.settings)}


@contextmanager
def _claimed(out: Path, made: dict[str, Any]) -> Iterator[None]:
    """A folder that is given back as it was where nothing can be written into it."""
    claim(out, made)
    try:
        with writing(out):
            yield
    except DecantError:
        if [file.name for file in out.iterdir()] == [NOTE]:
            (out / NOTE).unlink()
            out.rmdir()
        raise
