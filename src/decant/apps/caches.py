"""`--cache DIR`: what a teacher says of the data's texts, written once; then students learn without the teacher.

`DIR:k=32`, or `DIR:budget=200` in bytes a token.
"""

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, final

from decant.apps.knobs import values_of
from decant.apps.ranks import first
from decant.apps.teachers import Mentor, Named, knobs_in
from decant.apps.teaching import Asked, Told
from decant.distill import caching
from decant.distill.caching import Author, Estimate, Storing, fingerprint, tokenizer_hash
from decant.distill.composition import Composition
from decant.distill.parallel import join
from decant.distill.rollouts.dataset import Dataset
from decant.distill.rollouts.stream import Stream
from decant.distill.seams import needs_of
from decant.distill.shards import FACTS, Facts, place
from decant.distill.teachers.cached import Cached
from decant.distill.texts import Positions, Text, TextBatch
from decant.errors import BadInput, IncompatibleParts
from decant.models.trainee import Trainee

KINDS: Final = {"k": int, "budget": float, "per_shard": int}

log = logging.getLogger("decant")


@final
@dataclass(frozen=True, slots=True)
class Cache:
    """A cache that is not open yet."""

    gives: ClassVar[frozenset[str]] = Cached.gives

    def signal(self, batch: TextBatch, at: Positions) -> Any:
        """Nobody asks it: what it is composed with is only looked at."""
        raise AssertionError(f"a cache that is not open was asked of {len(at)} positions")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Keeping:
    """What is kept, and where. open: the teacher, where it has to be asked."""

    asked: Asked
    folder: Path
    storing: Storing
    trainee: Trainee
    texts: Sequence[Text]
    open: Callable[[], Mentor]

    @classmethod
    def of(
        cls, asked: Asked, trainee: Trainee, texts: Sequence[Text], composed: Composition, open_: Callable[[], Mentor]
    ) -> "Keeping":
        """For what a recipe composes. Raises BadInput for knobs, IncompatibleParts for a recipe that needs more."""
        assert asked.cache is not None
        said = knobs_in(asked.cache)
        storing = Storing(
            temperature=_temperature(asked, composed),
            length=asked.length,
            batch=asked.micro or asked.batch,
            **values_of(said, KINDS),
        )
        return cls(asked, Path(said.name).expanduser(), storing, trainee, texts, open_)

    @property
    def finished(self) -> bool:
        """Whether every shard is there. Raises BadInput for a teacher of another name."""
        if not (self.folder / FACTS).exists():
            return False
        facts = Facts.read(self.folder)
        if self.asked.teacher and facts.teacher != self.asked.teacher:
            raise BadInput(
                f"--cache {self.folder} holds what {facts.teacher} says, not {self.asked.teacher}; leave --teacher out "
                f"to learn from it, or name a new folder"
            )
        return all(place(self.folder, shard).exists() for shard in range(facts.shards))

    def mentor(self, told: Told) -> Mentor:
        """The finished cache; written first, where it is not. The teacher is let go.

        Raises BadInput where --teacher is named and is another by now: it is opened, and looked at.
        """
        first(join(), lambda: self._refuse_stranger() if self.finished else self._write(told))
        gc.collect()
        source = Cached(self.folder, self._spelt, self.storing.temperature)
        return Mentor(source.facts.teacher, source=source)

    def estimate(self) -> Estimate | None:
        """What would be written; None: nothing, it is finished."""
        return None if self.finished else caching.plan(self._author().teacher, self.texts, self.storing)

    def sample(self, count: int, folder: Path) -> tuple[Mentor, list[Text]]:
        """A cache of a few texts, to be timed."""
        some = [text for text in self.texts if text.teaches(self.storing.length)][:count]
        caching.write(self._author(), some, folder, self.storing)
        return Mentor("", source=Cached(folder, self._spelt, self.storing.temperature)), some

    @property
    def _spelt(self) -> str:
        return tokenizer_hash(self.trainee.speller.tokenizer.get_vocab())

    def _author(self) -> Author:
        if not self.asked.teacher:
            raise BadInput(f"--cache {self.folder} is not finished; name with --teacher who says the rest")
        mentor = self.open()
        return Author(mentor.law(), mentor.name, "+".join(map(fingerprint, mentor.networks)), self._spelt)

    def _refuse_stranger(self) -> None:
        """The same name may be a teacher that was trained on since."""
        if not self.asked.teacher:
            return
        before, now = Facts.read(self.folder).fingerprint, self._author().fingerprint
        if before != now:
            raise BadInput(
                f"--cache {self.folder} holds what {self.asked.teacher} said when its weights were others (fingerprint "
                f"{before}, now {now}); leave --teacher out to learn from it as it is, or name a new folder"
            )

    def _write(self, told: Told) -> None:
        author = self._author()
        log.info("%s: %s", self.folder, sentence(caching.plan(author.teacher, self.texts, self.storing)))
        caching.write(author, self.texts, self.folder, self.storing, lambda done, total: told(done, total, "laws"))


def kept(asked: Asked) -> bool:
    """Whether --cache is a folder of laws; a server's answers are kept as they come."""
    return asked.cache is not None and not (asked.teacher and Named.of(asked.teacher).served)


def sentence(estimate: Estimate) -> str:
    """Size and error."""
    return (
        f"{estimate.rows:,} tokens with the best {estimate.k} ids each, {estimate.bytes / 2**20:,.1f} MiB "
        f"({estimate.bytes_per_token:.0f} bytes a token); {estimate.nats:.4f} nats a token are lost, "
        f"{estimate.rest:.2%} of the mass lies in the rest"
    )


def _temperature(asked: Asked, composed: Composition) -> float:
    """Of the laws that the recipe compares."""
    name = asked.recipe
    if composed.teacher is None:
        raise IncompatibleParts(f"--cache is not for {name}: it asks a teacher nothing about its texts; leave it out")
    if isinstance(composed.rollouts, Stream):
        raise IncompatibleParts(
            f"--cache holds what a teacher says of texts that come again, and in {asked.texts} none does; leave "
            f"--cache out, or learn from a file or house:tasks"
        )
    if not isinstance(composed.rollouts, Dataset):
        raise IncompatibleParts(
            f"{name} learns from texts that are written or chosen as it goes, and --cache holds what a teacher says of "
            f"the data's own; leave --cache out, or take a recipe that learns from the data (hinton, taid)"
        )
    asking = [one.objective for one in composed.objectives if needs_of(one.objective) != "nothing"]
    found = {getattr(objective, "temperature", 1.0) for objective in asking}
    if len(found) > 1:
        raise IncompatibleParts(
            f"{name} compares laws at the temperatures {', '.join(map(str, sorted(found)))}, and a cache holds one; "
            f"leave --cache out"
        )
    return found.pop()
