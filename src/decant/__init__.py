"""Distil a model you have, decode it faster, prove that nothing was lost.

Names are imported when they are first asked for, so that `import decant` and `decant --help` need no torch. `bench` and
`prove` are rooms: `decant.bench.run`, `decant.prove.run`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from decant import bench, prove
    from decant.apps.api import Completion, generate, stream
    from decant.apps.compose import compose, plain
    from decant.apps.infilling import Infill
    from decant.constraints.grammar import Choice, Json, Lark, Regex
    from decant.decoders.autoregressive import Autoregressive
    from decant.decoders.speculative import Speculative
    from decant.errors import DecantError
    from decant.models.load import load
    from decant.samplers.chain import chain
    from decant.samplers.greedy import greedy
    from decant.samplers.min_p import min_p
    from decant.samplers.temperature import temperature
    from decant.samplers.top_k import top_k
    from decant.samplers.top_p import top_p

    __version__: str

_HOMES: Final = {
    "Autoregressive": "decant.decoders.autoregressive",
    "Choice": "decant.constraints.grammar",
    "Completion": "decant.apps.api",
    "DecantError": "decant.errors",
    "Infill": "decant.apps.infilling",
    "Json": "decant.constraints.grammar",
    "Lark": "decant.constraints.grammar",
    "Regex": "decant.constraints.grammar",
    "Speculative": "decant.decoders.speculative",
    "bench": "",
    "chain": "decant.samplers.chain",
    "compose": "decant.apps.compose",
    "generate": "decant.apps.api",
    "greedy": "decant.samplers.greedy",
    "load": "decant.models.load",
    "min_p": "decant.samplers.min_p",
    "plain": "decant.apps.compose",
    "prove": "",
    "stream": "decant.apps.api",
    "temperature": "decant.samplers.temperature",
    "top_k": "decant.samplers.top_k",
    "top_p": "decant.samplers.top_p",
}
"""Where each public name lives; "" is a room of this package."""

__all__ = [  # noqa: RUF022  (the order of use)
    "load",
    "generate",
    "stream",
    "Completion",
    "Infill",
    "compose",
    "plain",
    "Autoregressive",
    "Speculative",
    "greedy",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "chain",
    "Json",
    "Regex",
    "Lark",
    "Choice",
    "bench",
    "prove",
    "DecantError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home and keep it."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"decant has no {name!r}; it has {', '.join(sorted(__all__))}")
    home = _HOMES[name]
    found = getattr(import_module(home), name) if home else import_module(f"decant.{name}")
    globals()[name] = found
    return found


def _version() -> str:
    """Of the installed package: pyproject.toml says it, once."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("decant")
    except PackageNotFoundError:
        return "0+not.installed"


def __dir__() -> list[str]:
    return sorted(__all__)
