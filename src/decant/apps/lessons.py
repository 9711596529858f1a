"""What a model that fills in masks learns from: texts of a file, the house's own, or answers that it wrote itself."""

from dataclasses import dataclass, replace
from typing import Any, final

from decant.apps.choosing import warp_of
from decant.apps.compose import plain
from decant.apps.ranks import first
from decant.apps.sampling import Sampling
from decant.apps.teaching import HELD_OUT, MIXTURE, Asked, Told, place
from decant.apps.texts import encoded, read
from decant.decoders.stopping import Stopping
from decant.distill.answers import FILE, Writing, write
from decant.distill.diffusion.canvases import BLOCK, Canvases
from decant.distill.diffusion.recipe import FillingRecipe
from decant.distill.parallel import join
from decant.distill.rollouts.dataset import Dataset
from decant.distill.rollouts.teacher_samples import teacher_samples
from decant.distill.runs import TRAINING
from decant.distill.texts import Text
from decant.distill.trainer import Batches
from decant.errors import BadInput
from decant.house import HOME
from decant.models.load import load, speller
from decant.models.masked.convention import Convention
from decant.models.trainee import Trainee

FAR = 10**6  # between the seeds of a stream that is learnt from, and of what is held out


@final
@dataclass(frozen=True, slots=True)
class Lessons:
    """taught, held_out: step -> ids_BT, PAD behind, and weights_BT. measured: held-out batches. count: texts; None: a
    stream. beforehand: what is done before the first step."""

    taught: Batches
    held_out: Batches
    measured: int
    count: int | None
    beforehand: tuple[str, ...] = ()


def lessons_of(asked: Asked, recipe: FillingRecipe, trainee: Trainee, told: Told, dry: bool = False) -> Lessons:
    """Raises BadInput for data that this recipe cannot learn from. dry: the model writes nothing."""
    own = getattr(recipe, "answers", "data") == "own"
    if not own:
        asked.refuse("answers are the data's", "temperature")
    if asked.texts == MIXTURE:
        if own:
            raise BadInput(f"a model cannot answer {MIXTURE}, which is text that nobody asked for; take house:tasks")
        return _mixture(asked, trainee, _block(recipe, trainee))
    shelf = encoded(read(asked.texts, asked.limit, asked.seed), trainee.speller, trainee.ends)
    texts, beforehand = shelf.texts, ()
    if own:
        prompts = [*(text.ids[: text.prompt] for text in shelf.texts if text.prompt), *shelf.prompts]
        if not prompts:
            raise BadInput(f"{asked.texts} holds no prompts that a model could answer; give prompts, or answers=data")
        beforehand = (f"the model answers {len(prompts):,} prompts, {asked.max_tokens} places each",)
        if not dry:
            texts = _own(asked, prompts, told)
    if not texts:
        raise BadInput(f"{asked.texts} holds prompts alone; give answers, or let dparallel:answers=own write them")
    alone = len(texts) == 1
    learnt = [text for at, text in enumerate(texts) if at % HELD_OUT or alone]
    end = min(trainee.ends, default=None)
    block = _block(recipe, trainee)
    taught, held_out = (
        Canvases(Dataset(some, asked.batch, asked.length, asked.seed), end, block)
        for some in (learnt, _teaching(texts[::HELD_OUT], asked.length) or learnt)
    )
    measured = -(-len(held_out.dataset.texts) // asked.batch)
    return Lessons(taught.batch, held_out.batch, measured, len(learnt), beforehand)


def _block(recipe: FillingRecipe, trainee: Trainee) -> int:
    """Places of a block: the model's own, else the recipe's."""
    reads = Convention.of(trainee.network.config)
    return (reads and reads.block) or recipe.block or BLOCK


def _teaching(texts: list[Text], length: int) -> list[Text]:
    return [text for text in texts if text.teaches(length)]


def _own(asked: Asked, prompts: list[list[int]], told: Told) -> list[Text]:
    """What the model answers as it is, a place a step; an answer without an end is dropped."""
    target = load(asked.student or "", device=place(asked.device), exact="off")
    decoder: Any = plain(target, warp_of(Sampling(temperature=asked.temperature))).decoder
    decoder = replace(decoder, length=asked.max_tokens)
    writing = Writing(Stopping(asked.max_tokens, target.ends), asked.batch, asked.seed, target.model.network.device)
    file = asked.out / TRAINING / FILE

    def written() -> list[Text]:
        answers = write(decoder, prompts, file, writing, lambda done, total: told(done, total, "answers"))
        return teacher_samples(answers, target.ends)

    return first(join(), written)


def _mixture(asked: Asked, trainee: Trainee, block: int) -> Lessons:
    """The house's own stream, never the same text twice, for models of its tokenizer."""
    from tokenizers import Tokenizer

    from decant.house import corpus
    from decant.house.answers import Answers
    from decant.house.mixture import encode_code

    if not trainee.speller.same(speller("house:target")):
        raise BadInput(f"{MIXTURE} is written in the house's tokens, and {trainee.name} has others; take house:tasks")
    words = Tokenizer.from_file(str(HOME / "target" / "tokenizer.json"))
    code = encode_code(words, [document.text for document in corpus.documents(held_out=False)])
    functions, room = corpus.functions(held_out=False), asked.batch * asked.length
    learnt, held_out = (
        Answers(words, code, functions, block=block, room=room, seed=asked.seed + apart) for apart in (1, FAR)
    )
    return Lessons(learnt.batch, held_out.batch, max(1, 64 // asked.batch), None)
