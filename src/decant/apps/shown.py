"""What the pages show beside numbers: the first prompts' texts, and where each of their tokens came from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from decant.apps.trial import Trial
from decant.bench.origins import Origin, origins
from decant.decoders.text import TextStream
from decant.models.load import Loaded
from decant.pages import fastest

SHOWN: Final = 4


def race_page(trial: Trial, race: Mapping[str, Any]) -> dict[str, Any]:
    """What `decant.pages.report` shows of a race: its numbers, and the texts of the fastest method that loses nothing,
    which are decoded once more."""
    row = fastest(race)
    if row is None:
        return {"race": race}
    return {"race": race, "texts": texts(trial, row["name"]), "texts_method": row["name"]}


def texts(trial: Trial, name: str, count: int = SHOWN) -> list[dict[str, Any]]:
    """The first `count` prompts of a trial as its method `name` continues them: {"prompt", "tokens": [{"text",
    "origin"}]}."""
    method = next(method for method in trial.methods if method.name == name)
    few = replace(trial.workload, prompts=trial.workload.prompts[:count], batch=1)
    told = origins(method.decoder, few)
    return [
        {"prompt": trial.led.decode(ids), "tokens": spelt(trial.led, ids, said)}
        for ids, said in zip(few.prompts, told, strict=True)
    ]


def spelt(target: Loaded, prompt: list[int], said: list[tuple[int, Origin]]) -> list[dict[str, str]]:
    """The text of each token; one that ends no character gives what it writes to the next. What writes nothing, an end
    token, is left out."""
    feed, ids = TextStream(target.after(prompt)), [token for token, _ in said]
    found = []
    for number, (_, origin) in enumerate(said, 1):
        text = feed.feed(ids[:number], done=number == len(said))
        if text:
            found.append({"text": text, "origin": origin})
    return found
