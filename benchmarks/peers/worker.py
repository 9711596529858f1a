"""An engine in a process of its own: its threads, its OpenMP and its crashes stay there.

Asked in lines of JSON on its standard input, it answers in lines of JSON; what the engine prints goes to a log.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from .seam import CannotRun, Engine, Weights
from .table import Peer


@final
class Worker:
    """The near end. `engines` maps the modes that opened to their versions, `reason` says why others did not."""

    def __init__(self, name: str, peer: Peer, weights: Weights) -> None:
        """Open the engine. Raises CannotRun, with the engine's own reason, if not even plain decoding runs."""
        self._log = weights.scratch / f"{name}.log"
        threads = str(weights.threads)
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
        given = {**asdict(weights), "module": peer.module, "kind": peer.kind}
        command = [sys.executable, "-m", "peers.worker", json.dumps(given, default=str)]
        pipe = subprocess.PIPE
        with self._log.open("w") as log:
            self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment)
        opened = self._answer()
        self.engines: dict[str, str] = opened["engines"]
        self.reason: str | None = opened["reason"]
        if not self.engines:
            self.close()
            raise CannotRun(self.reason)

    def generate(self, mode: str, ids: list[int], new_tokens: int) -> tuple[list[int], float]:
        """New ids, and the seconds that they took there. Raises CannotRun."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: the answer below says how
            print(json.dumps([mode, ids, new_tokens]), file=self._child.stdin, flush=True)
        answer = self._answer()
        if "reason" in answer:
            raise CannotRun(answer["reason"])
        return answer["ids"], answer["seconds"]

    def close(self) -> int:
        """The exit status of the process."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        self._child.stdout.close()
        return self._child.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if line:
            return json.loads(line)
        status = self.close()
        said = self._log.read_text(errors="replace").strip().splitlines()
        raise CannotRun(f"it ended with status {status}: {said[-1] if said else 'no word'}")


def reason(error: BaseException) -> str:
    """One line."""
    if isinstance(error, ModuleNotFoundError):
        return f"not installed: {error.name} (make peers)"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__


def _open(weights: Weights, module: str, kind: str) -> tuple[dict[str, Engine], str | None]:
    engines: dict[str, Engine] = {}
    try:
        for engine in importlib.import_module(module).engines(weights, kind):
            engines[engine.mode] = engine
    except Exception as error:  # engines raise whatever they like, and the others are still to be measured
        return engines, reason(error)
    return engines, None


def _serve(answers: Any, engines: dict[str, Engine]) -> None:
    for line in sys.stdin:
        mode, ids, new_tokens = json.loads(line)
        try:
            begin = time.perf_counter()
            found = engines[mode].generate(ids, new_tokens)
            seconds = time.perf_counter() - begin
            answer = {"ids": found, "seconds": seconds}
        except Exception as error:  # as above
            answer = {"reason": reason(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # engines print; standard output is for answers only
        given = json.loads(sys.argv[1])
        module, kind = given.pop("module"), given.pop("kind")
        places = {name: given[name] and Path(given[name]) for name in ("folder", "draft", "scratch")}
        engines, why = _open(Weights(**{**given, **places}), module, kind)
        opened = {mode: engine.versions for mode, engine in engines.items()}
        print(json.dumps({"engines": opened, "reason": why}), file=answers, flush=True)
        _serve(answers, engines)
