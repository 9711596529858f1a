"""`decant tune --simulate`: a ranking for machines which nobody has here. A prediction, and it says so first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from decant.apps.cli.output import note, show, write, write_json
from decant.apps.cli.progress import progress
from decant.apps.prompts import default_source, read
from decant.errors import BadInput
from decant.tune.hardware import load

if TYPE_CHECKING:
    from decant.apps.opening import Opening
    from decant.tune.carried import Known

SHOWN: Final = 10  # methods of a batch
PROBED: Final = 3  # prompts
PROBE_TOKENS: Final = 32


@final
@dataclass(frozen=True, slots=True)
class Words:
    """What was typed. machines: names or files, with commas between."""

    model: str
    machines: str
    acceptance: str | None
    context: int
    batches: Sequence[int]
    draft: str | None = None
    prompts: str | None = None
    limit: int | None = None
    methods: Sequence[str] | str = "all"
    temperature: float = 0.0
    seed: int = 0
    loading: Mapping[str, Any] = field(default_factory=dict)


def simulated(asked: Words, quiet: bool, json: str | None) -> None:
    """Predict and show. Without --acceptance the model is loaded, and probed on some prompts."""
    machines = [load(name.strip()) for name in asked.machines.split(",") if name.strip()]
    if not machines:
        raise BadInput("--simulate names no machine; give h100-sxm, or a JSON file")
    if asked.acceptance is None:
        source = asked.prompts or default_source(asked.model)
        read(source, asked.limit)

    from decant.apps.guessing import Guesser, heads_of
    from decant.apps.opening import Opening
    from decant.apps.simulating import Asked, acceptance, simulate
    from decant.apps.sizes import shapes_of

    opening = Opening(**asked.loading)
    target, draft = shapes_of(asked.model, asked.draft, opening)
    known = _probed(asked, opening, quiet) if asked.acceptance is None else acceptance(asked.acceptance)
    guesser = Guesser(target, draft, heads_of(asked.model, asked.draft), asked.context)
    report = simulate(Asked(target, draft, machines, asked.batches, asked.context), known, guesser)
    write_json(report, json)  # first: the reader of a pipe may go away
    if json != "-":
        show_simulation(report)


def _probed(asked: Words, opening: "Opening", quiet: bool) -> "Known":
    """Which guesses stand, measured here."""
    from decant.apps.sampling import Sampling
    from decant.apps.simulating import probed
    from decant.apps.trial import Question, prepare

    source = asked.prompts or default_source(asked.model)
    prompts = read(source, asked.limit)
    prompts = prompts[:: max(1, len(prompts) // PROBED)][:PROBED]
    question = Question(asked.methods, source, asked.draft, max_tokens=PROBE_TOKENS, seed=asked.seed)
    note(f"loading {asked.model}, to see which guesses stand", quiet)
    trial = prepare(asked.model, question, prompts, Sampling(temperature=asked.temperature), opening)
    with progress(quiet) as told:
        return probed(trial, told)


def show_simulation(report: Mapping[str, Any]) -> None:
    """Machine by machine, batch by batch."""
    model = report["model"]
    for found in report["machines"]:
        write(f"a prediction for {found['machine']['name']}, nothing was run there\n")
        said = f"{model['name']}, {model['parameters'] / 1e9:.3g}B parameters in {model['dtype']}"
        write(f"{said}, {report['context']} tokens in front; acceptance as measured\n")
        if found["presumed"]:
            write(f"presumed, not public: {', '.join(found['presumed'])}\n")
        write("\n")
        _show_batches(found["batches"])
    for why, names in _reasons(report["machines"]).items():
        write(f"not predicted: {', '.join(names)}: {why}\n")


def _show_batches(batches: Sequence[Mapping[str, Any]]) -> None:
    """A table, and what to do."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("batch", justify="right")
    table.add_column("method", overflow="fold")
    for title in ("speed-up", "tokens/s of\na request", "tokens/s\nin all", "tokens\na call"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in batches:
        for row in _shown(one["methods"]):
            table.add_row(
                str(one["batch"]),
                row["name"],
                f"{row['speedup']:.2f}",
                f"{row['tokens_per_second']:.4g}",
                f"{row['in_all']:.4g}",
                f"{row['tokens_a_call']:.2f}",
            )
        if one["methods"]:
            table.add_row()
    if table.row_count:
        show(table)
    for one in batches:
        if one["refused"] is not None:
            write(f"batch {one['batch']}: {one['refused']}\n")
            continue
        best = one["methods"][0]
        advice = "leave it off" if best["name"] == "plain" else f"{best['name']}, {best['speedup']:.2f} times plain"
        write(f"batch {one['batch']}: {advice}\n")
    write("\n")


def _shown(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The fastest, and plain decoding wherever it stands."""
    return [row for at, row in enumerate(rows) if at < SHOWN or row["name"] == "plain"]


def _reasons(machines: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Names by the reason why there is no prediction of them."""
    found: dict[str, dict[str, None]] = {}
    for machine in machines:
        for one in machine["batches"]:
            for name, why in one.get("skipped", []):
                found.setdefault(why, {})[name] = None
    return {why: list(names) for why, names in found.items()}
