"""What the lm-evaluation-harness says, in decant's words: a model's arguments, a task's settings, requests' seeds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from typing import Any, Final, final
from zlib import crc32

import torch

from decant.apps.opening import Opening
from decant.apps.sampling import NAMES, Sampling
from decant.apps.session import PREFIX_MB, Session, open_session
from decant.errors import BadInput, MissingExtra
from decant.noise import sample_seed

TYPE: Final = "decant"
BATCH: Final = 8  # where the harness says "auto"
THEIRS: Final = "cuda:0"  # the harness's device, where nobody says one, also on machines without


def harness(part: str) -> Any:
    """A module of the harness. Raises MissingExtra."""
    try:
        return import_module(f"lm_eval.{part}")
    except ImportError as error:
        raise MissingExtra(
            f"the lm-evaluation-harness is not to be had: pip install 'decant[eval]' ({error})"
        ) from error


@final
@dataclass(frozen=True, slots=True)
class Arguments:
    """`--model_args` of the harness. pretrained, draft: names as everywhere, or what is loaded already.

    max_length: of prompt and answer; by default the context. max_gen_toks: of an answer, where a task does not say.
    seed: of what is drawn, where a task samples. prefix_mb: MB of prompts' beginnings that are kept for others.
    max_batch_size is the harness's, and is not needed here.
    """

    pretrained: Any
    draft: Any = None
    method: str | None = None
    verifier: str | None = None
    policy: str | None = None
    dtype: str = "auto"
    weights: Any = "auto"
    device: str | None = None
    exact: Any = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    widen: str | None = None
    batch_size: int | str = BATCH
    max_batch_size: int | None = None
    max_length: int | None = None
    max_gen_toks: int = 256
    add_bos_token: bool | None = None
    seed: int = 0
    prefix_mb: float = PREFIX_MB

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Arguments":
        """Raises BadInput for one that there is not, and without `pretrained`."""
        known = [one.name for one in fields(cls)]
        if strange := [name for name in given if name not in known]:
            raise BadInput(f"model_args of {TYPE} have no {strange[0]!r}; take {', '.join(known)}")
        if not given.get("pretrained"):
            raise BadInput(f"model_args of {TYPE} name no model; give pretrained=MODEL")
        return cls(**given)

    @property
    def batch(self) -> int:
        """Requests at a time. Raises BadInput."""
        said = str(self.batch_size)
        if said.startswith("auto"):
            return BATCH
        if not said.isdigit() or not int(said):
            raise BadInput(f"batch_size is 1 or more, or auto, got {said}")
        return int(said)

    def opened(self, sampling: Sampling, target: Any = None, draft: Any = None) -> Session:
        """A session; target and draft: where they are loaded already."""
        device = "auto" if self.device == THEIRS and not torch.cuda.is_available() else self.device
        opening = Opening(
            self.dtype, device or "auto", self.exact, self.revision, self.trust_remote_code, self.widen,
            weights=self.weights,
        )  # fmt: skip
        return open_session(
            self.pretrained if target is None else target, self.draft if draft is None else draft, sampling, opening,
            method=self.method, verifier=self.verifier, policy=self.policy, prefix_mb=self.prefix_mb,
        )  # fmt: skip


@final
@dataclass(slots=True)
class Spent:
    """What the answers of a task took. calls: of the target; drafted: tokens that had been guessed."""

    requests: int = 0
    tokens: int = 0
    calls: int = 0
    drafted: int = 0

    def report(self) -> dict[str, Any]:
        """JSON-ready; acceptance_length: tokens a target call, the target's own included."""
        return {**asdict(self), "acceptance_length": self.tokens / self.calls if self.calls else None}


def sampling_of(given: dict[str, Any]) -> Sampling:
    """From the settings of a task. Without `do_sample` or a temperature it is greedy; sampling alone is at 1."""
    sampled, temperature = given.pop("do_sample", False), given.pop("temperature", 0.0)
    if given.pop("num_beams", 1) != 1:
        raise BadInput("num_beams is not for this model type; leave it out, and take --method beam")
    if strange := [name for name in given if name not in NAMES]:
        raise BadInput(f"the setting {strange[0]} of a task is not one of decant's; leave it out, or take {NAMES}")
    return Sampling((temperature or 1.0) if sampled else 0.0, **given)


def seeds_of(requests: Sequence[Any], seed: int) -> list[int]:
    """One for each request, which depends on its task, its question, and how often that came before: samples of one
    question differ, and a question's do not depend on what else is asked."""
    times: Counter[str] = Counter()
    found: list[int] = []
    for request in requests:
        name = f"{getattr(request, 'task_name', '')} {getattr(request, 'doc_id', '')} {getattr(request, 'idx', '')}"
        times[name] += 1
        found.append(sample_seed(seed, crc32(f"{name} {times[name]}".encode())))
    return found
