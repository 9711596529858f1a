"""Grids of images, and PNG files that say what went in."""

import struct
import zlib

import torch

from decant.images.picture import grid, png


def read(file: bytes) -> torch.Tensor:
    """level_YX of a grey PNG whose lines are not filtered; checksums are held against their chunks."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(file):
        (length,) = struct.unpack(">I", file[at : at + 4])
        kind, body = file[at + 4 : at + 8], file[at + 8 : at + 8 + length]
        assert file[at + 8 + length : at + 12 + length] == struct.pack(">I", zlib.crc32(kind + body))
        parts[kind] = body
        at += 12 + length
    wide, high, depth, colours = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    assert (depth, colours) == (8, 0)
    lines = torch.frombuffer(bytearray(zlib.decompress(parts[b"IDAT"])), dtype=torch.uint8).view(high, wide + 1)
    assert (lines[:, 0] == 0).all()
    assert b"IEND" in parts
    return lines[:, 1:]


def test_a_file_says_what_went_in() -> None:
    grey_YX = torch.tensor([[0.0, 0.5, 1.0], [1.5, -1.0, 0.2]])
    assert read(png(grey_YX)).tolist() == [[0, 128, 255], [255, 0, 51]]


def test_a_grid_frames_every_image() -> None:
    images_BYX = torch.tensor([[[0.1]], [[0.2]], [[0.3]]])
    rows = [[1, 1, 1, 1, 1], [1, 0.1, 1, 0.2, 1], [1, 1, 1, 1, 1], [1, 0.3, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert torch.allclose(grid(images_BYX, 2), torch.tensor(rows))


def test_a_zoom_repeats_pixels() -> None:
    image_1YX = torch.tensor([[[0.0, 0.5]]])
    assert grid(image_1YX, 1, zoom=2).tolist() == [[1] * 6, [1, 0, 0, 0.5, 0.5, 1], [1, 0, 0, 0.5, 0.5, 1], [1] * 6]
