"""Options that several verbs share: name, default type and help, written once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Exactness = Literal["auto", "on", "off"]
Growth = Literal["grow", "keep"]
Rounding = Literal["auto", "int8", "int4"]

Model = Annotated[str, typer.Argument(help="A Hub id, a folder in Hugging Face format, or house:target.")]
Draft = Annotated[
    str | None,
    typer.Option(help="Draft model, a trained head or student; else those that the model's decant.json names."),
]
Method = Annotated[str | None, typer.Option(help="How to decode: a name of `decant methods`, as name:knob=value.")]
Methods = Annotated[str, typer.Option(help="Methods to compare, with commas between, each name:knob=value; or all.")]
Verifier = Annotated[str | None, typer.Option(help="Who judges guesses (coupled: the same seed, the same text).")]
Plan = Annotated[
    Path | None, typer.Option(help="Folder that decant tune wrote: decode as its plan says, or refuse and say why.")
]
Policy = Annotated[str | None, typer.Option(help="How much to guess: fixed, additive, confidence; as name:knob=value.")]
Prompts = Annotated[
    str | None, typer.Option(help="A JSONL or text file, - for standard input, or house:tasks|code|copy.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Take only the first prompts of the file.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="New tokens of a request, at most.")]
Infill = Annotated[
    bool, typer.Option("--infill", help="PROMPT is a text with gaps, each [MASK:n], n places: fill them in.")
]
FillGrammar = Annotated[
    str | None,
    typer.Option(help="Of a model that fills in masks: the text follows from json, c-toy or the grammar in a file."),
]
Watch = Annotated[bool, typer.Option("--watch", help="On a terminal: see places settle; the text comes at the end.")]
Temperature = Annotated[float | None, typer.Option(help="0 is greedy; by default the model's own setting.")]
Measured = Annotated[float, typer.Option("--temperature", help="0 is greedy.")]
TopK = Annotated[int | None, typer.Option(help="Only the k likeliest tokens; 0 keeps all.")]
TopP = Annotated[float | None, typer.Option(help="Only the likeliest tokens of this mass.")]
MinP = Annotated[float | None, typer.Option(help="Only tokens this many times as likely as the likeliest.")]
Logprobs = Annotated[
    int | None,
    typer.Option(min=0, help="With --json, --prompts: log-probabilities, so many likeliest beside."),
]
ProcessedLogprobs = Annotated[
    bool, typer.Option("--processed-logprobs", help="With --logprobs: those of the law that is drawn from.")
]
Explain = Annotated[bool, typer.Option("--explain", help="Say what is done to logits, and where each value is from.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same text.")]
Batch = Annotated[int, typer.Option(min=1, help="Prompts decoded together.")]
CacheMb = Annotated[
    float | None, typer.Option(help="MB of cache that the prompts that run may need; by default without limit.")
]
Resume = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Keep whole rounds in this file; the same command goes on from it.")
]
Repeat = Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")]
DraftStore = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Keep what the drafter learns here for the next run; texts stay the same."),
]
DraftStoreMb = Annotated[float, typer.Option(help="MB that --draft-store may take.")]
Dtype = Annotated[str, typer.Option(help="auto (config.json's), float32, bfloat16 or float16.")]
Weights = Annotated[Rounding, typer.Option(help="auto: as stored; int8, int4: less to read, but a worse model (CPU).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; by default one a core.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run Python code that the model brings.")]
Exact = Annotated[Exactness, typer.Option(help="Bit-equal to plain decoding: auto is on where it is cheap.")]
Widen = Annotated[str | None, typer.Option(help="Measure at this size (0.4B): enlarge, and keep what the model says.")]
WidenDraft = Annotated[str | None, typer.Option(help="Enlarge the draft to this size (0.02B).")]
Layers = Annotated[Growth, typer.Option(help="With --widen: grow depth too, or keep it.")]
Costs = Annotated[bool, typer.Option("--costs", help="Measure one pass of the model instead; no prompts needed.")]
Contexts = Annotated[str | None, typer.Option(help="With --costs: tokens in front, with commas between (256,1024).")]
Batches = Annotated[str | None, typer.Option(help="With --costs: requests in a pass, with commas between (1,4).")]
AcceptanceBound = Annotated[
    bool, typer.Option("--acceptance-bound", help="What each verifier accepts, beside the most that any could.")
]
Suite = Annotated[
    Literal["parallel", "images"] | None,
    typer.Option(help="parallel: questions, for models that fill in masks; images: for models of images."),
]
Plot = Annotated[Path | None, typer.Option(help="With --suite: draw the picture into this file (.png, .svg, .pdf).")]
Label = Annotated[
    list[str] | None, typer.Option(help="Of a model of images: a class; several take turns; by default all do.")
]
Count = Annotated[int | None, typer.Option("--n", min=1, help="Of a model of images: how many (64).")]
Out = Annotated[Path | None, typer.Option(help="Of a model of images: the PNG file that they are written to.")]
Drafts = Annotated[str | None, typer.Option(help="With --acceptance-bound: guesses at a position (1,2,4).")]
Html = Annotated[
    str | None, typer.Option("--html", help="Write a page to read to this file: it needs no network and no script.")
]
Json = Annotated[
    str | None, typer.Option("--json", help="Write the result to this file as JSON; - is standard output.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on standard error but errors.")]


def given(ctx: typer.Context, *names: str) -> list[str]:
    """Those of the options that were typed, as they are spelt: --max-tokens."""
    spelt = {option.name: option.opts[0] for option in ctx.command.params}
    sources = {name: ctx.get_parameter_source(name) for name in names}
    # By name: the enumeration is click's, or that of the copy of click that typer brings.
    return [spelt[name] for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
