"""The two things that `decant prove` certifies: methods of a model, and somebody else's engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from decant.apps.catalog import check
from decant.apps.cli.choosing import FLAGS, Flags
from decant.apps.cli.output import note
from decant.apps.cli.progress import Progress, progress
from decant.apps.cli.start import listed, quieten, use_threads
from decant.apps.prompts import Prompt, default_source, read
from decant.apps.repeating import FILES, marks_of_files, refuse_change
from decant.errors import BadInput

SAMPLES: Final = 2000  # behind each prompt of a model; reading a prompt once, they are cheap
ASKED: Final = 480  # of an engine, where each is a question
FIRST: Final = 32  # prompts of an engine, where --limit says nothing

Spell = Callable[[list[int]], str]
Words = Mapping[str, Any]
"""Every option of the verb by name, as it was typed."""


@final
@dataclass(slots=True)
class Proof:
    """What came out. planned: checks that were to be made; marks: fingerprints of what was asked about."""

    marks: dict[str, str | None]
    planned: int
    spell: Spell = str
    certificate: dict[str, Any] = field(default_factory=dict)
    interrupted: bool = False

    def run(self, quiet: bool, certify: Callable[[Progress, Callable[[dict[str, Any]], None]], Any]) -> "Proof":
        """Certify; an interrupt leaves what there is. Raises KeyboardInterrupt where there is nothing yet."""
        try:
            with progress(quiet) as told:
                self.certificate.update(certify(told, self.certificate.update))
        except KeyboardInterrupt:
            if not self.certificate:
                raise
            self.interrupted = True
        return self


@final
@dataclass(frozen=True, slots=True)
class Before:
    """The certificate that is to be repeated, and its file."""

    report: Mapping[str, Any]
    path: str

    def refuse(self, words: Words, marks: Mapping[str, str | None]) -> None:
        """Raises BadInput where something is another than it was."""
        refuse_change(self.report, {**marks, **marks_of_files(words)}, self.path)


def prove_methods(words: Words, before: Before | None, quiet: bool) -> Proof:
    """Methods of a model."""
    from decant.apps.proofs import known

    model, names = words["model"], listed(words["method"])
    check([] if names == "all" else names, words["verifier"], words["policy"])
    if set(names) == {"plain"}:
        raise BadInput("plain decoding is what methods are held against; name one, such as --method prompt-lookup")
    checks = known(name.strip() for name in words["checks"].split(",") if name.strip())
    files = {name: Path(words[name]) for name in FILES if words[name] is not None}
    flags = Flags(**{**{name: words[name] for name in FLAGS}, **files})
    sampling = flags.sampling(words["temperature"])
    source = words["prompts"] or default_source(model)
    asked = read(source, words["limit"])
    quieten(model, quiet)
    use_threads(words["threads"])

    from decant.apps.opening import Opening
    from decant.apps.proofs import extras
    from decant.apps.repeating import mark
    from decant.apps.trial import Question, prepare
    from decant.tune.identity import model_identity

    named = ("draft", "verifier", "policy", "max_tokens", "batch", "seed")
    question = Question(names, source, **{name: words[name] for name in named})
    loading = ("dtype", "device", "exact", "revision", "trust_remote_code", "widen", "widen_draft", "layers", "weights")
    opening = Opening(**{name: words[name] for name in loading})
    constraint, guidance = flags.constraint(), flags.leading()
    note(f"loading {model}", quiet)
    trial = prepare(model, question, asked, sampling, opening, constraint, guidance)
    samples = words["samples"] or SAMPLES
    loaded = {"model": trial.target, "draft": trial.draft}
    marks: dict[str, str | None] = {
        "prompts": mark(trial.workload.prompts),
        **{name: model_identity(one)["fingerprint"] if one else None for name, one in loaded.items()},
    }
    if before is not None:
        before.refuse(words, marks)
    planned = len(trial.methods) * ("methods" in checks) + len(extras(trial, trial.methods, checks, samples))
    proof = Proof(marks, planned, trial.target.decode)
    return proof.run(quiet, lambda told, partial: trial.certify(samples, told, partial, checks))


def prove_engine(words: Words, before: Before | None, quiet: bool, trusted: bool) -> Proof:
    """An engine that speculates, against its twin that does not. trusted: whether the addresses were typed."""
    if words["engine"] is None or words["twin"] is None:
        raise BadInput(
            "an engine is held against its twin, the same server without speculation; give --engine URL and --twin URL"
        )
    if words["model"] is not None:
        raise BadInput(f"--engine asks servers, which have a model; leave {words['model']} out, or --engine-model it")
    source = words["prompts"] or "house:tasks"
    asked: list[Prompt] = read(source, words["limit"] or FIRST)
    quieten("", quiet)

    from decant.apps.engines import Engines, certify, marks, opened
    from decant.prove.engine import Terms

    terms = Terms(words["max_tokens"], words["samples"] or ASKED)
    engines = Engines(
        words["engine"], words["twin"], words["engine_model"], source, words["at_once"], words["seed"], trusted
    )
    pair = opened(engines, asked)
    found = marks(pair)
    if before is not None:
        before.refuse(words, found)
    return Proof(found, 2).run(quiet, lambda told, partial: certify(engines, pair, terms, told, partial))
