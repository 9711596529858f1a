"""One row of the comparison, and how rows are opened."""

from typing import final

from .seam import CannotRun, Weights
from .table import PEERS
from .worker import Worker


@final
class Row:
    """One engine in one mode. `first` are the seconds to one token, prompt by prompt, of every repeat."""

    def __init__(self, worker: Worker, mode: str, prompts: list[list[int]], new_tokens: int) -> None:
        self.worker, self.mode, self.prompts, self.new_tokens = worker, mode, prompts, new_tokens
        if mode not in worker.engines:
            raise CannotRun(worker.reason or f"it has no mode {mode}")
        self.versions = worker.engines[mode]
        self.first: list[float] = []
        self.texts = [worker.generate(mode, ids, new_tokens)[0] for ids in prompts]
        lengths = {len(text) for text in self.texts}
        if lengths != {new_tokens}:
            raise CannotRun(f"asked for {new_tokens} tokens, it gave {sorted(lengths)}")

    def seconds(self) -> float:
        """For all tokens after the first, of all prompts."""
        first = [self.worker.generate(self.mode, ids, 1)[1] for ids in self.prompts]
        whole = [self.worker.generate(self.mode, ids, self.new_tokens)[1] for ids in self.prompts]
        self.first.append(sum(first))
        return sum(whole) - sum(first)


def opened(
    wanted: list[str], weights: Weights, prompts: list[list[int]], new_tokens: int
) -> tuple[dict[str, Row], dict[str, str]]:
    """The wanted rows that run, and of each other the reason."""
    running: dict[str, Row] = {}
    skipped: dict[str, str] = {}
    for name, peer in PEERS.items():
        modes = {row: mode for row, mode in peer.rows(name).items() if row in wanted}
        if not modes:
            continue
        print(f"opening {name}", flush=True)
        try:
            worker = Worker(name, peer, weights)
        except CannotRun as error:
            skipped |= dict.fromkeys(modes, str(error))
            continue
        for row, mode in modes.items():
            try:
                running[row] = Row(worker, mode, prompts, new_tokens)
            except CannotRun as error:
                skipped[row] = str(error)
    return running, skipped
