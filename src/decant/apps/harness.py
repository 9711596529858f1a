"""The lm-evaluation-harness with the model type `decant`: its tasks by name, and its own command line, which does not
find this type by itself:

    python -m decant.apps.harness --model decant --model_args pretrained=MODEL,method=prompt-lookup --tasks NAME
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, final

from decant.apps.evaluation import DecantLM
from decant.apps.yardstick import harness
from decant.errors import BadInput

PARTS = ("results", "groups", "versions", "n-shot", "n-samples", "higher_is_better", "lm_eval_version")


@final
@dataclass(frozen=True, slots=True)
class Exam:
    """How tasks are asked. limit: questions of each; None: all. shots: examples in front of a question, chat: through
    the chat template, system: what stands in front of it. temperature: of generated answers; None: as tasks say."""

    limit: int | None = None
    shots: int | None = None
    chat: bool = False
    system: str | None = None
    temperature: float | None = None

    @property
    def settings(self) -> dict[str, Any] | None:
        """For generated answers, in the harness's words."""
        drawn = {"temperature": self.temperature, "do_sample": bool(self.temperature)}
        return None if self.temperature is None else drawn


def found(names: Sequence[str], folder: Path | None) -> tuple[Any, list[str]]:
    """Who knows the tasks, and their names; `*` stands for anything. Tasks in a folder come before the harness's own,
    of which there are so many that they are looked at only where they are needed.

    Raises BadInput for a task that there is not.
    """
    if folder is not None and not folder.is_dir():
        raise BadInput(f"--include-path {folder} is no folder; give one with task files (*.yaml)")
    known = harness("tasks").TaskManager
    if folder is not None:
        near_by = known(include_path=str(folder), include_defaults=False)
        if all(near_by.match_tasks([name]) for name in names):
            return near_by, near_by.match_tasks(list(names))
    index = known(include_path=str(folder) if folder else None)
    for name in names:
        if not index.match_tasks([name]):
            near = get_close_matches(name, index.all_tasks)
            hint = f"did you mean {', '.join(near)}?" if near else "lm_eval ls tasks lists the harness's own"
            raise BadInput(f"no task is called {name!r}; {hint}")
    return index, index.match_tasks(list(names))


def examined(model: DecantLM, index: Any, names: list[str], exam: Exam) -> dict[str, Any]:
    """What the harness found, and what it took; JSON-ready. Raises BadInput where questions cannot be had."""
    try:
        said = harness("evaluator").simple_evaluate(
            model=model,
            tasks=names,
            task_manager=index,
            num_fewshot=exam.shots,
            limit=exam.limit,
            apply_chat_template=exam.chat,
            fewshot_as_multiturn=exam.chat,
            system_instruction=exam.system,
            gen_kwargs=exam.settings,
            log_samples=False,
            torch_random_seed=None,  # nothing here draws from the global generator
        )
    except OSError as error:
        raise BadInput(f"the questions of {', '.join(names)} cannot be had: {error}") from error
    assert said is not None, "one process"
    kept = {name: said[name] for name in PARTS if name in said}
    return {**json.loads(json.dumps(kept, default=harness("utils").handle_non_serializable)), "decant": model.report()}


def table(report: dict[str, Any]) -> str:
    """The harness's own table of a report, groups behind tasks."""
    drawn = harness("utils").make_table
    return "\n".join(drawn(report, part) for part in ("results", "groups") if report.get(part))


def main() -> None:
    """The harness's own command line."""
    harness("__main__").cli_evaluate()


if __name__ == "__main__":
    main()
