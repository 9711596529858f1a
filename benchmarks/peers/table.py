"""Which engines there are."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Peer:
    """One engine with one kind of weights; all its rows live in one process, so the weights are there once.

    module: where its `engines` is.
    kind:   how the weights are stored, in the engine's word.
    modes:  its speculative modes.
    """

    module: str
    kind: str
    modes: tuple[str, ...] = ()

    def rows(self, name: str) -> dict[str, str]:
        """The mode of each of its rows, the plain one first."""
        return {name: "", **{f"{name}-{mode}": mode for mode in self.modes}}


PEERS = {
    "decant-bf16": Peer("peers.decant", "auto", ("prompt-lookup", "draft-model")),
    "decant-int8": Peer("peers.decant", "int8", ("prompt-lookup", "draft-model")),
    "decant-int4": Peer("peers.decant", "int4", ("prompt-lookup", "draft-model")),
    "transformers-bf16": Peer("peers.transformers", "bfloat16", ("prompt-lookup", "assisted")),
    "llama.cpp-bf16": Peer("peers.llama", "BF16", ("prompt-lookup",)),
    "llama.cpp-q8_0": Peer("peers.llama", "Q8_0", ("prompt-lookup",)),
    "ctranslate2-bf16": Peer("peers.ctranslate2", "bfloat16"),
    "ctranslate2-int8": Peer("peers.ctranslate2", "int8"),
    "openvino-f16": Peer("peers.openvino", "F16", ("prompt-lookup", "draft-model")),
    "openvino-q8_0": Peer("peers.openvino", "Q8_0", ("prompt-lookup", "draft-model")),
    "onnx-bf16": Peer("peers.onnx", "bf16"),
    "onnx-int8": Peer("peers.onnx", "int8"),
    "onnx-int4": Peer("peers.onnx", "int4"),
}
QUICK = ("decant-bf16", "transformers-bf16")


def rows(peers: dict[str, Peer]) -> list[str]:
    """All rows, in the order of the table."""
    return [row for name, peer in peers.items() for row in peer.rows(name)]
