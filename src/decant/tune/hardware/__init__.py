"""A machine in numbers: what it reads and computes in a second, each with its source. Nothing here was run there.

A file is a JSON object with the fields of `Hardware`. `sources` says, of every number, where it stands in public; one
that begins with "presumption:" is not known, and is the first thing to correct by a measurement (`calibrate.py`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, final

from decant.errors import BadInput

SHIPPED: Final = Path(__file__).parent
PRESUMED: Final = "presumption:"
POSITIVE: Final = ("memory_gb", "bandwidth_gb_s", "devices")
SHARES: Final = ("bandwidth_efficiency", "compute_efficiency", "attention_efficiency")
COUNTED: Final = frozenset({"name", "sources", "devices"})  # these need no source


@final
@dataclass(frozen=True, slots=True)
class Hardware:
    """One machine of `devices` equal devices, each of which holds its share of every matrix.

    memory_gb, bandwidth_gb_s, tflops: of one device, at its peak; GB are 1e9 bytes, tflops go by dtype.
    bandwidth_efficiency, compute_efficiency: what a pass reaches of the two peaks, above 0 and up to 1.
    attention_efficiency: what attention reaches of both, beside matrix products.
    overlap:   how far reading and computing happen at the same time: 1 is the roofline, at 0 their times add up.
    launch_us: microseconds that a kernel costs whatever it does; a layer is kernels_per_layer of them, the output one.
    request_us: microseconds a layer for each request of the batch, where they are taken one after another.
    step_us:   microseconds of a step beside its passes (warps, draws, bookkeeping).
    level_us:  microseconds of a level of guessing beside its pass (a draw, and what becomes of the tree).
    link_gb_s, link_us: between devices, one way, and what an exchange costs whatever its size; two a layer.
    sources:   of every number, where it is from.

    Raises BadInput that names the field.
    """

    name: str
    memory_gb: float
    bandwidth_gb_s: float
    tflops: Mapping[str, float]
    bandwidth_efficiency: float
    compute_efficiency: float
    attention_efficiency: float
    overlap: float
    launch_us: float
    kernels_per_layer: float
    step_us: float
    sources: Mapping[str, str]
    request_us: float = 0.0
    level_us: float = 0.0
    link_gb_s: float = 0.0
    link_us: float = 0.0
    devices: int = 1

    def __post_init__(self) -> None:
        for field, value in self._numbers():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise BadInput(f"{field} of {self.name} is a number from 0 on, got {value!r}")
            if value == 0 and (field in (*POSITIVE, *SHARES) or field.startswith("tflops.")):
                raise BadInput(f"{field} of {self.name} is above 0, got {value!r}")
            if value > 1 and field in (*SHARES, "overlap"):
                raise BadInput(f"{field} of {self.name} is a share, up to 1, got {value!r}")
            if not self._source(field):
                raise BadInput(f'{field} of {self.name} has no source; say in "sources" where {value:g} is from')
        if self.devices > 1 and not self.link_gb_s:
            raise BadInput(f"{self.name} has no link_gb_s, so it is one device; give one for {self.devices} devices")

    @property
    def presumed(self) -> list[str]:
        """The fields of which the number is not public, in their order."""
        return [field for field, _ in self._numbers() if self._source(field).startswith(PRESUMED)]

    def flops(self, dtype: str) -> float:
        """What one device reaches in a second. Raises BadInput for a dtype that the file does not name."""
        if dtype not in self.tflops:
            raise BadInput(
                f"{self.name} has no tflops for {dtype}; its file has those for {', '.join(self.tflops)}: take one of "
                f"them, or add it"
            )
        return 1e12 * self.tflops[dtype] * self.compute_efficiency

    def bytes_per_second(self) -> float:
        """What one device reads in a second."""
        return 1e9 * self.bandwidth_gb_s * self.bandwidth_efficiency

    def facts(self) -> dict[str, Any]:
        """JSON-ready, in the form of the files."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**said, "tflops": dict(self.tflops), "sources": dict(self.sources)}

    def _numbers(self) -> Iterator[tuple[str, Any]]:
        if not isinstance(self.tflops, Mapping) or not self.tflops:
            raise BadInput(f'tflops of {self.name} are numbers by dtype, such as {{"bfloat16": 100}}')
        for field in fields(self):
            if field.name == "tflops":
                yield from ((f"tflops.{dtype}", value) for dtype, value in self.tflops.items())
            elif field.name not in ("name", "sources"):
                yield field.name, getattr(self, field.name)

    def _source(self, field: str) -> str:
        """Of tflops each dtype may have its own; what is left at 0 needs none."""
        found = self.sources.get(field) or self.sources.get(field.partition(".")[0])
        if found:
            return str(found)
        left_out = field in ("request_us", "level_us", "link_gb_s", "link_us") and not getattr(self, field)
        return "left out" if left_out or field in COUNTED else ""


def shipped() -> list[str]:
    """Names of the machines that come along."""
    return sorted(file.stem for file in SHIPPED.glob("*.json"))


def load(spec: str) -> Hardware:
    """A machine that comes along, or a file; either may end in :devices=4. Raises BadInput."""
    found = re.fullmatch(r"(.+):devices=(\d+)", spec)
    name, devices = (found[1], int(found[2])) if found else (spec, None)
    file = SHIPPED / f"{name}.json" if name in shipped() else Path(name).expanduser()
    if not file.is_file():
        near = get_close_matches(name, shipped(), n=2) or shipped()
        raise BadInput(f"no machine and no file is called {name!r}; there are {', '.join(near)}, or give a JSON file")
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    machine = parsed(said, str(file))
    return machine if devices is None else replace(machine, name=f"{devices} x {machine.name}", devices=devices)


def parsed(said: Any, where: str) -> Hardware:
    """The machine that a JSON object describes. Raises BadInput that names the field."""
    known = [field.name for field in fields(Hardware)]
    needed = [field.name for field in fields(Hardware) if field.default is MISSING]
    if not isinstance(said, dict):
        raise BadInput(f"{where} holds no JSON object; one with the fields {', '.join(known)} is needed")
    for field in said:
        if field not in known:
            near = get_close_matches(str(field), known, n=1)
            raise BadInput(
                f"{where}: there is no field {field!r}; " + (f"is it {near[0]}?" if near else "leave it out")
            )
    if missing := [field for field in needed if field not in said]:
        raise BadInput(f"{where}: the field {missing[0]} is missing")
    if not isinstance(said["name"], str) or not isinstance(said["sources"], dict):
        raise BadInput(f"{where}: name is a text, and sources an object with a text for every number")
    return Hardware(**said)
