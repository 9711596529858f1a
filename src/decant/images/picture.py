"""Many small grey images as one PNG file."""

import struct
import zlib

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

BLANK = 1.0  # white between images


def grid(images_BYX: Tensor, columns: int, zoom: int = 1) -> Tensor:
    """grey_YX in 0 ... 1: the images row by row with a white line of one pixel around each; `zoom` times as large."""
    large_BYX = interpolate(images_BYX[:, None].float(), scale_factor=zoom, mode="nearest")[:, 0]
    framed_BYX = pad(large_BYX, (0, 1, 0, 1), value=BLANK)
    missing = -len(framed_BYX) % columns
    filled_BYX = torch.cat([framed_BYX, torch.full_like(framed_BYX[:1], BLANK).expand(missing, -1, -1)])
    high, wide = framed_BYX.shape[1:]
    rows = filled_BYX.view(-1, columns, high, wide).permute(0, 2, 1, 3).reshape(-1, columns * wide)
    return pad(rows, (1, 0, 1, 0), value=BLANK)


def png(grey_YX: Tensor) -> bytes:
    """The bytes of a PNG file of eight bits; values outside 0 ... 1 are cut."""
    level_YX = (grey_YX.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    high, wide = level_YX.shape
    lines = torch.cat([level_YX.new_zeros(high, 1), level_YX], dim=1)  # each line says that it is not filtered
    header = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
    packed = zlib.compress(lines.numpy().tobytes(), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
