"""From what `decant datastore` was asked to a datastore: texts as they stand, or a model's own answers to them."""

import hashlib
import json
import random
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from decant.apps.prompts import Prompt, read
from decant.errors import BadInput

if TYPE_CHECKING:  # texts are read, and a broken line named, before anything heavy is imported
    from decant.models.speller import Speller

DRAWN: Final = 2000  # questions of house:tasks, where nobody says how many
PIECE: Final = 2**16  # characters of a long text that are encoded at a time
ANSWERS: Final = "answers-{}.jsonl"

Told = Callable[[int, int, str], None]


@final
@dataclass(frozen=True, slots=True)
class Answering:
    """How the model answers where its own answers are stored."""

    max_tokens: int = 256
    temperature: float = 0.0
    batch: int = 8
    seed: int = 0
    device: str = "auto"


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What the user typed. answering: None stores the texts as they stand."""

    texts: str
    model: str
    out: Path
    limit: int | None = None
    answering: Answering | None = None
    revision: str | None = None
    trust_remote_code: bool = False

    @property
    def spec(self) -> str:
        """The method that reads the datastore."""
        return f"retrieval:store={self.out}"


def collect(asked: Asked) -> list[Prompt]:
    """The texts, or the prompts to answer. Raises BadInput for what cannot be read, and for a folder that is taken.

    The house's prompts are for measuring, so `house:tasks` and `house:code` are what its models were taught on.
    """
    _refuse(asked.out)
    source, seed = asked.texts, 0 if asked.answering is None else asked.answering.seed
    if not source.startswith("house:"):
        return read(source, asked.limit, whole=asked.answering is None)
    from decant.house import corpus
    from decant.house.tasks import draw_any

    if source == "house:code" and asked.answering is None:
        documents = islice(corpus.documents(held_out=False), asked.limit)
        return [Prompt(document.path, document.text) for document in documents]
    if source != "house:tasks":
        raise BadInput(
            f"{source} is for measuring, not for a datastore; take house:tasks, house:code (without --answers) or a "
            f"file of your own"
        )
    rng, functions = random.Random(f"datastore {seed}"), corpus.functions(held_out=False)
    drawn = [draw_any(rng, functions) for _ in range(asked.limit or DRAWN)]
    reply = asked.answering is None
    return [
        Prompt(f"question {number}", messages=_turns(one.prompt, one.answer if reply else None))
        for number, one in enumerate(drawn, 1)
    ]


def run(asked: Asked, prompts: list[Prompt], told: Told) -> dict[str, Any]:
    """Ids of every text, sorted and written; the report. Raises BadInput."""
    began = time.monotonic()
    texts = list(_encoded(asked, prompts, told)) if asked.answering is None else _answered(asked, prompts, told)

    from decant.drafters.retrieval import FACTS, ORDER, TOKENS, Datastore

    tokens, collected = sum(map(len, texts)), time.monotonic()
    if not tokens:
        raise BadInput(f"{asked.texts} holds no tokens; a datastore needs text")
    told(len(texts), len(texts), f"sorting {tokens:,} tokens")
    origin = {"model": asked.model, "texts": asked.texts, "answers": asked.answering and asdict(asked.answering)}
    try:
        Datastore.of(texts).write(asked.out, origin)
        size = sum((asked.out / name).stat().st_size for name in (FACTS, ORDER, TOKENS))
    except OSError as error:
        raise BadInput(f"{asked.out} cannot be written: {error.strerror}; give another folder") from error
    ended = time.monotonic()
    return {
        **origin,
        "store": asked.spec,
        "count": len(texts),
        "tokens": tokens,
        "bytes": size,
        "seconds": {"collecting": round(collected - began, 3), "sorting": round(ended - collected, 3)},
        "next": next_command(asked),
    }


def next_command(asked: Asked) -> str:
    """What measures it; a model that brings no prompts wants some."""
    words = ["decant", "bench", asked.model, "--methods", asked.spec]
    return shlex.join(words) + ("" if asked.model.startswith("house:") else " --prompts FILE")


def _refuse(out: Path) -> None:
    """A folder that something else lies in, or whose name no method can carry."""
    if {*":,"} & {*str(out)}:
        raise BadInput(f"a name with a colon or a comma cannot stand in retrieval:store={out}; give another --out")
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out} is a file; give a folder")
    ours = {"tokens.npy", "order.npy", "datastore.json"}
    if out.is_dir() and any(one.name not in ours and not one.match(ANSWERS.format("*")) for one in out.iterdir()):
        raise BadInput(f"--out {out} is not empty, and no datastore; give a new folder")


def _turns(question: str, answer: str | None) -> tuple[dict[str, str], ...]:
    asked = {"role": "user", "content": question}
    return (asked,) if answer is None else (asked, {"role": "assistant", "content": answer})


def _encoded(asked: Asked, prompts: list[Prompt], told: Told) -> Iterator[Sequence[int]]:
    """Texts with the tokenizer alone: no weights are read."""
    import numpy as np

    from decant.models.load import speller

    spelt = speller(asked.model, asked.revision, asked.trust_remote_code)
    sizes = [len(one.text or "") + sum(len(turn["content"]) for turn in one.messages) for one in prompts]
    total, done = sum(sizes), 0
    for prompt, size in zip(prompts, sizes, strict=True):
        ids: list[np.ndarray] = []
        for piece, share in _pieces(prompt, size):
            told(done, total, "encoding")
            ids.append(np.array(_ids(piece, spelt), dtype=np.int32))
            done += share
        yield np.concatenate(ids).tolist() if len(ids) > 1 else ids[0].tolist()


def _pieces(prompt: Prompt, size: int) -> Iterator[tuple[Prompt, int]]:
    """A long text cut at ends of lines, so that it shows how far it has come; sizes in characters."""
    if prompt.text is None or size <= PIECE:
        yield prompt, size
        return
    start = 0
    while start < size:
        stop = prompt.text.find("\n", start + PIECE) + 1 or size
        yield Prompt(prompt.where, prompt.text[start:stop]), stop - start
        start = stop


def _ids(prompt: Prompt, spelt: "Speller") -> list[int]:
    """A conversation through the chat template, if there is one; it ends where its last answer does."""
    if prompt.text is not None:
        return spelt.inner(prompt.text)
    if not spelt.chats:
        return spelt.inner("\n".join(turn["content"] for turn in prompt.messages))
    return spelt.encode_chat(list(prompt.messages), ask=prompt.messages[-1]["role"] != "assistant")


def _answered(asked: Asked, prompts: list[Prompt], told: Told) -> list[list[int]]:
    """Prompts with the model's own answers, which are kept in the folder: interrupted, the same command goes on."""
    from decant.apps.choosing import warp_of
    from decant.apps.compose import plain
    from decant.apps.prompts import encode
    from decant.apps.sampling import Sampling
    from decant.decoders.stopping import Stopping
    from decant.distill.answers import Writing, write
    from decant.models.load import load

    how = asked.answering
    assert how is not None
    target = load(
        asked.model,
        device=how.device,
        exact="off",
        revision=asked.revision,
        trust_remote_code=asked.trust_remote_code,
    )
    ids = encode(prompts, target, how.max_tokens)
    same = [asked.model, asked.revision, how.max_tokens, how.temperature, how.seed]
    file = asked.out / ANSWERS.format(hashlib.sha256(json.dumps(same).encode()).hexdigest()[:8])
    decoder = plain(target, warp_of(Sampling(temperature=how.temperature))).decoder
    writing = Writing(Stopping(how.max_tokens, target.ends), how.batch, how.seed)
    answers = write(decoder, ids, file, writing, lambda done, total: told(done, total, "answers"))
    return [answer.ids for answer in answers]
