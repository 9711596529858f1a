"""Head folders in Hugging Face format: config.json and model.safetensors in bfloat16, public names where there are any.

Never pickle. `d2t` holds offsets, `t2d` says which of the target's ids can be guessed.
"""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from decant.errors import BadInput, IncompatibleParts
from decant.models.folder import HOUSE
from decant.models.heads.ends import Ends
from decant.models.heads.spec import HeadSpec, default_taps
from decant.models.network import Network

NETS: Final = {  # kind -> the network, and what makes it ready to draft
    "medusa": ("medusa:MedusaNet", "medusa:Parallel"),
    "eagle": ("eagle:EagleNet", "recurrent:Recurrent"),
    "eagle3": ("eagle3:Eagle3Net", "recurrent:Recurrent"),
    "glide": ("glide:GlideNet", "recurrent:Recurrent"),
    "fspad": ("fspad:FspadNet", "recurrent:Recurrent"),
    "falcon": ("falcon:FalconNet", "semi_autoregressive:SemiAutoregressive"),
    "chimera": ("chimera:ChimeraNet", "full_context:FullContext"),
    "ppd": ("prompts:PromptNet", "prompts:Prompts"),
    "hidden-transfer": ("transfer:TransferNet", "transfer:Transfers"),
}
ARCHITECTURES: Final = {  # config.json's name -> kind
    "MedusaModel": "medusa",
    "LlamaForCausalLMEagle": "eagle",
    "EagleLlamaForCausalLM": "eagle",
    "LlamaForCausalLMEagle3": "eagle3",
    "Eagle3LlamaForCausalLM": "eagle3",
    "Eagle3Speculator": "eagle3",
    "Eagle3DraftModel": "eagle3",
}
WEIGHTS: Final = "model.safetensors"
MAPS: Final = ("d2t", "t2d")


def untrained(spec: HeadSpec, ids_V: Tensor | None = None, seed: int = 0) -> Any:
    """A fresh network, the same for the same seed; the global generator does not move.

    ids_V: ascending, the ids that it may guess; None: all.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _part(spec.kind, 0)(spec, ids_V)


def save(net: Any, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write config.json and model.safetensors; the network itself keeps its dtype."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().to("cpu", dtype).contiguous() for name, weight in net.state_dict().items()}
    if net.ids_V is not None:
        ids_V = net.ids_V.cpu()
        covered = torch.zeros(net.spec.vocab, dtype=torch.bool)
        covered[ids_V] = True
        weights |= {"d2t": ids_V - torch.arange(len(ids_V)), "t2d": covered}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    text = json.dumps(net.spec.written(net.architecture), indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def read(folder: Path, layers: int = 0) -> Any:
    """The network of a head folder, in float32, not bound to any teacher yet.

    layers: of the target, which says what is tapped where the folder does not. Raises BadInput for a folder that holds
    no head, or whose weights are not those that its config.json promises.
    """
    spec, weights = describe(folder), _weights(folder)
    maps = {name: weights.pop(name) for name in MAPS if name in weights}
    if not spec.taps:
        spec = _retapped(spec, layers)
    ids_V = None
    if "d2t" in maps:
        ids_V = maps["d2t"].long() + torch.arange(len(maps["d2t"]))
    net = untrained(spec, ids_V)
    mine = {name: weight.float() for name, weight in net.renamed(weights).items()}
    if "lm_head.weight" in mine and "lm_head.weight" not in net.state_dict():
        del mine["lm_head.weight"]  # a copy of the target's
    try:
        net.load_state_dict(mine)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{folder / WEIGHTS} does not hold the weights that config.json promises: {reason}") from error
    return net


def find(target: str, kind: str) -> Path | None:
    """The folder of a head that a target's decant.json names under `heads`; relative paths count from there."""
    home = HOUSE / target.removeprefix("house:") if target.startswith("house:") else Path(target).expanduser()
    file = home / "decant.json"
    if not file.is_file():
        return None
    try:
        named = (json.loads(file.read_text(encoding="utf-8")).get("heads") or {}).get(kind)
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    if not named:
        return None
    return HOUSE / named.removeprefix("house:") if named.startswith("house:") else home / Path(named).expanduser()


def kind_of(folder: Path) -> str | None:
    """The kind of head that a folder holds; None where it holds none."""
    try:
        return describe(folder).kind
    except BadInput:
        return None


def describe(folder: Path) -> HeadSpec:
    """What config.json says. Raises BadInput."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"{folder} holds no config.json; give the folder of a head, as `decant distill` writes it"
        ) from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder / 'config.json'} cannot be read: {error}") from error
    return HeadSpec.read(config, ARCHITECTURES)


def ready(net: Any, network: Network) -> Any:
    """A network made ready to draft for a loaded target, in the target's type, on its device.

    The target is the teacher, or an enlarged one. Raises IncompatibleParts for another.
    """
    spec, config = net.spec, network.config.get_text_config()
    wide, vocab = config.hidden_size, config.vocab_size
    if wide < spec.hidden or vocab != spec.vocab:
        raise IncompatibleParts(
            f"this {spec.kind} head was taught by {spec.teacher or 'a model'} of width {spec.hidden} and {spec.vocab} "
            f"ids, but the target has width {wide} and {vocab} ids; train one for it with decant distill {spec.kind}"
        )
    like = torch.empty(0, dtype=network.dtype, device=network.device)
    net = net.requires_grad_(False).eval()
    nn.Module.to(net, device=like.device, dtype=like.dtype)
    net.bind(Ends.of_target(network, spec, net.ids_V))
    return _part(spec.kind, 1)(net, spec.tapped(config.num_hidden_layers), vocab, like)


def _part(kind: str, which: int) -> Any:
    if kind not in NETS:
        raise BadInput(f"no head is called {kind!r}; there are {', '.join(NETS)}")
    module, _, name = NETS[kind][which].partition(":")
    return getattr(import_module(f"decant.models.heads.{module}"), name)


def _retapped(spec: HeadSpec, layers: int) -> HeadSpec:
    taps = default_taps(layers) if spec.kind == "eagle3" else (-1,)
    return replace(spec, taps=taps, teacher_layers=layers)


def _weights(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        if list(folder.glob("*.bin")) + list(folder.glob("*.pt")):
            raise BadInput(
                f"{folder} has pickle weights only, which can run code when they are read; convert them once to "
                f"{WEIGHTS}"
            )
        raise BadInput(f"{folder} holds no {WEIGHTS}; give the folder of a head, as `decant distill` writes it")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
