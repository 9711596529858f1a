"""Methods raced against plain decoding, on the same prompts, in the same run.

tokens_per_second    generated tokens over the seconds after prefill; total_tokens_per_second counts prefill too.
ttft_seconds         from the prompt to the end of the first step: prefill, the drafter's own, and one step.
speedup              ratio of tokens_per_second to that of plain decoding in the same repeat.
acceptance_length    generated tokens over request-calls (`ledger.Ledger`): the bonus token counts, what was cut off
                     behind an end token or the last token allowed does not. It is the target calls that were saved, no
                     more; None where the target was never called.
acceptance_by_position  see `acceptance.by_position`; drafts count whole there, before any cut.
seconds              of one repeat, after prefill: in the drafter, in the target (score and commit), and elsewhere
                     (warps, draws, verification, the crank); 0 where draft and target work at the same time.
lost                 of a lossy method: see `quality.lost`; knobs: what it was set to, so as to lose that.
identical            every output equals plain decoding's in exact mode, which is run once and not timed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Final, Protocol, final

import torch

from decant.bench.acceptance import distinct_ngrams
from decant.bench.keeping import Kept, fingerprint
from decant.bench.lap import Lap
from decant.bench.quality import lost
from decant.bench.timing import ratios, spread
from decant.decoders.method import PLAIN, Method
from decant.decoders.parting import Parting, explain
from decant.decoders.workload import Workload
from decant.errors import BadInput, DecantError
from decant.protocols import AnyDecoder

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""

REPETITIVE: Final = 0.5
WARM_UP_TOKENS: Final = 16


class Described(Protocol):
    """A model that can say what it is: `models.load.Loaded`."""

    def facts(self) -> dict[str, Any]: ...


@final
@dataclass(slots=True)
class Record:
    """What a run has found so far; `row` and `report` may be asked at any time."""

    racing: list[Method]
    workload: Workload
    exact_plain: AnyDecoder
    expected: list[list[int]]
    laps: list[list[Lap]] = field(default_factory=list)
    _known: dict[tuple[int, tuple[int, ...]], Parting | None] = field(default_factory=dict)
    _losses: dict[tuple[int, int], dict[str, float | None]] = field(default_factory=dict)

    def row(self, index: int) -> dict[str, Any]:
        """The report of one method, over the finished repeats (the first counts as far as it has come)."""
        method, finished = self.racing[index], self.finished()
        laps, plain = [repeat[index] for repeat in finished], [repeat[0] for repeat in finished]
        speeds, plain_speeds = ([lap.tokens / lap.decoding for lap in these] for these in (laps, plain))
        first, repeats, asked = laps[0].ledger, len(laps), sum(lap.ledger.asked for lap in laps)
        distinct = distinct_ngrams(laps[0].outputs)
        identical, differs = self._equality(index, laps)
        draft, target = (fmean(getattr(lap.ledger, part) for lap in laps) for part in ("draft", "target"))
        return {
            "name": method.name,
            "exact": method.exact,
            "promise": method.promise,
            "tokens_per_second": spread(speeds),
            "speedup": ratios(speeds, plain_speeds),
            "acceptance_length": round(sum(lap.tokens for lap in laps) / asked, 4) if asked else None,
            "acceptance_by_position": [round(share, 4) for share in laps[0].by_position],
            "seconds": {
                "draft": round(draft, 6),
                "target": round(target, 6),
                "other": round(max(0.0, sum(lap.decoding for lap in laps) / repeats - draft - target), 6),
            },
            "target_calls": first.calls,
            "distinct_4grams": None if distinct is None else round(distinct, 4),
            "identical": identical,
            "differs": differs,
            "skipped": None,
            "tokens": laps[0].tokens,
            "prefill_seconds": round(fmean(lap.ledger.prefill for lap in laps), 6),
            "ttft_seconds": round(median(seconds for lap in laps for seconds in lap.ledger.first), 6),
            "total_tokens_per_second": spread([lap.tokens / lap.wall for lap in laps]),
            "flag": _flag(distinct),
            "lost": self._lost(index, laps[0].outputs),
            "knobs": dict(method.knobs) or None,
        }

    def finished(self) -> list[list[Lap]]:
        """Repeats in which every method has decoded every prompt; else what there is of the first."""
        whole = [laps for laps in self.laps if all(len(lap.outputs) == len(self.expected) for lap in laps)]
        return whole or self.laps[:1]

    def _equality(self, index: int, laps: list[Lap]) -> tuple[bool | None, dict[str, int | None]]:
        """Prompts of the first repeat count as differences; `identical` asks for all repeats."""
        if index == 0:
            return True, {"near_ties": 0, "unexplained": 0}
        if self.racing[index].promise == "distribution" or not self.racing[index].coupled:
            return None, {"near_ties": None, "unexplained": None}
        partings = [self._parting(prompt, tokens) for prompt, tokens in enumerate(laps[0].outputs)]
        causes = [parting.cause for parting in partings if parting is not None]
        identical = all(
            tokens == plain for lap in laps for tokens, plain in zip(lap.outputs, self.expected, strict=False)
        )
        return identical, {"near_ties": causes.count("near-tie"), "unexplained": causes.count("unexplained")}

    def _lost(self, index: int, outputs: list[list[int]]) -> dict[str, float | None] | None:
        """Of a method that declares itself lossy; None where nothing is lost."""
        method, key = self.racing[index], (index, len(outputs))
        if method.exact:
            return None
        if key not in self._losses:
            self._losses[key] = lost(self.exact_plain, self.workload, self.expected, outputs, coupled=method.coupled)
        return self._losses[key]

    def _parting(self, prompt: int, tokens: list[int]) -> Parting | None:
        key = prompt, tuple(tokens)
        if key not in self._known:
            self._known[key] = explain(self.exact_plain, self.workload, prompt, self.expected[prompt], tokens)
        return self._known[key]


def run(
    target: Described,
    methods: list[Method],
    workload: Workload,
    *,
    exact_plain: Method,
    repeat: int = 5,
    skipped: Iterable[tuple[str, str]] = (),
    settings: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    progress: Progress = lambda done, total, text: None,
    partial: Callable[[dict[str, Any]], None] = lambda report: None,
    kept: Kept | None = None,
) -> dict[str, Any]:
    """Race `methods`, of which the first is plain decoding at its fastest; the report is JSON-ready.

    exact_plain: plain decoding in exact mode, which tells whether outputs are identical.
    skipped:     methods that cannot run here, with reasons; a method that refuses the first prompt joins them.
    partial:     gets the report so far whenever all methods have decoded one more group, for runs that are interrupted.
    kept:        where whole rounds are kept; those that a race with the same question has kept there are not run again.
    Raises BadInput unless plain decoding comes first, and whatever plain decoding itself refuses.
    """
    if methods[0].name != PLAIN or exact_plain.name != PLAIN:
        raise BadInput(f"the first method is the baseline, plain decoding, and {methods[0].name} is not; put it first")
    if repeat < 1:
        raise BadInput(f"repeat is 1 or more, got {repeat}")
    groups, device = workload.groups(), torch.device(workload.device)
    total = len(groups) * (repeat * len(methods) + 1)
    question = {
        "model": target.facts(),
        "settings": {**(settings or {}), **_settings(workload, repeat)},
        "methods": [method.name for method in methods],
        "prompts": fingerprint(workload.prompts),
    }
    known = kept.begin(question) if kept else {}
    record = Record([], workload, exact_plain.decoder, known.get("expected", []))
    if not known:
        for group, outputs in workload.decode(exact_plain.decoder):
            record.expected += [output.tokens for output in outputs]
            turn = len(record.expected) // workload.batch
            progress(turn, total, f"plain in exact mode, prompts {group.first + 1} to {group.first + len(outputs)}")
    record.racing, refused = _warm_up(methods, workload)
    record.laps = [[Lap.kept(said, device) for said in laps] for laps in known.get("laps", [])]

    def report() -> dict[str, Any]:
        repeats = record.finished()
        return {
            "machine": dict(machine or {}),
            "model": question["model"],
            "settings": question["settings"],
            "methods": [record.row(index) for index in range(len(record.racing))]
            + [_skipped(name, reason) for name, reason in [*refused, *skipped]],
            "finished": {"repeats": len(repeats), "prompts": len(repeats[0][0].outputs)},
        }

    done = len(groups) * (1 + len(record.laps) * len(methods))
    for number in range(len(record.laps), repeat):
        record.laps.append([Lap.of(method, device) for method in record.racing])
        for group in groups:
            for method, lap in zip(record.racing, record.laps[-1], strict=True):
                progress(done, total, f"repeat {number + 1} of {repeat}, {method.name}")
                lap.decode(group)
                done += 1
            partial(report())
        if kept:
            laps = [[lap.numbers() for lap in laps] for laps in record.laps]
            kept.keep(question, {"expected": record.expected, "laps": laps})
    progress(total, total, "done")
    return report()


def _warm_up(methods: list[Method], workload: Workload) -> tuple[list[Method], list[tuple[str, str]]]:
    """Decode a little with each method, unclocked: those that can run, and (name, reason) of the others."""
    group, racing, refused = workload.groups(WARM_UP_TOKENS)[0], [], []
    for method in methods:
        try:
            group.decode(method.decoder)
            racing.append(method)
        except DecantError as error:
            if method is methods[0]:
                raise
            refused.append((method.name, str(error)))
    return racing, refused


def _settings(workload: Workload, repeat: int) -> dict[str, Any]:
    return {
        "prompts": len(workload.prompts),
        "max_tokens": workload.max_tokens,
        "batch": workload.batch,
        "seed": workload.seed,
        "ends": sorted(workload.ends),
        "repeat": repeat,
    }


def _flag(distinct: float | None) -> str | None:
    if distinct is None or distinct >= REPETITIVE:
        return None
    return f"repetitive text ({distinct:.2f} distinct 4-grams, below {REPETITIVE}) flatters every drafter"


def _skipped(name: str, reason: str) -> dict[str, Any]:
    missing = dict.fromkeys(KEYS)
    return {**missing, "name": name, "skipped": reason}


KEYS: Final = (
    "name", "exact", "promise", "tokens_per_second", "speedup", "acceptance_length", "acceptance_by_position",
    "seconds", "target_calls", "distinct_4grams", "identical", "differs", "skipped", "tokens", "prefill_seconds",
    "ttft_seconds", "total_tokens_per_second", "flag", "lost",
    "knobs",
)  # fmt: skip
"""Of every row; a test compares them with those of `Record.row`."""
