"""The golden set: files of every kind that photographs come as, made here, each with what either decoder owes.

PNG is decoded exactly, so its pixels have recorded digests. What a JPEG becomes depends on the version of libjpeg and
its inverse transform: of those the two decoders are compared with each other and with what was drawn.
"""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchcodec.decoders import decode_image

from benchmarks.data.decoders import DECODERS, REDUCED, UnreadableError, check_decoder, differences, facts, opened
from benchmarks.data.photographs import Views, squares
from benchmarks.errors import ConfigError
from benchmarks.running.squares import TURNED, square

HEIGHT, WIDTH = 24, 36
ORIENTATION = 0x0112
Pixels = NDArray[np.uint8]


def scene(height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Three ramps, by whole numbers alone (H W 3)."""
    y, x = np.mgrid[:height, :width]
    ramps = (x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (height + width - 2))
    return np.stack(ramps, axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def png_16(pixels: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel (H W, or H W 3), as its specification has it: no library writes all of them."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = pixels.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def palette() -> Image.Image:
    """Sixteen colours, dealt out in stripes."""
    image = Image.fromarray((np.mgrid[:HEIGHT, :WIDTH][1] % 16).astype(np.uint8), mode=None).convert("L")
    striped = Image.frombytes("P", image.size, image.tobytes())
    striped.putpalette([value for colour in range(16) for value in (colour * 17, 255 - colour * 17, colour * 5)])
    return striped


COLOUR = Image.fromarray(scene())
GREY = COLOUR.convert("L")
DEEP = (np.mgrid[:HEIGHT, :WIDTH][1] * 1800 + np.mgrid[:HEIGHT, :WIDTH][0] * 7).astype(np.uint16)
EXACT: dict[str, bytes] = {
    "colour": encoded(COLOUR),
    "grey": encoded(GREY),
    "one bit": encoded(GREY.point(lambda value: 255 * (value > 99)).convert("1")),
    "palette": encoded(palette()),
    "palette, one colour transparent": encoded(palette(), transparency=3),
    "transparent": encoded(Image.merge("RGBA", (*COLOUR.split(), GREY))),
    "grey, transparent": encoded(Image.merge("LA", (GREY, GREY))),
    "grey, 16 bits": png_16(DEEP),
    "one pixel": encoded(Image.new("RGB", (1, 1), (9, 8, 7))),
    "one line": encoded(COLOUR.crop((0, 0, WIDTH, 1))),
    **{f"turned {number}": encoded(COLOUR, exif=turned(number)) for number in range(1, 9)},
}
LOSSY: dict[str, bytes] = {
    "colour": encoded(COLOUR, "JPEG", quality=95),
    "colour, 4:4:4": encoded(COLOUR, "JPEG", quality=95, subsampling=0),
    "grey": encoded(GREY, "JPEG", quality=95),
    "progressive": encoded(COLOUR, "JPEG", quality=95, progressive=True),
    "CMYK": encoded(COLOUR.convert("CMYK"), "JPEG", quality=95),
    **{f"turned {number}": encoded(COLOUR, "JPEG", quality=95, exif=turned(number)) for number in range(1, 9)},
}
LARGE = Image.fromarray(scene(200, 300))
UNREADABLE: dict[str, bytes] = {
    "zero bytes": b"",
    "no image": b"no image at all",
    "truncated JPEG": encoded(LARGE, "JPEG")[:-600],
    "truncated PNG": encoded(LARGE)[:-600],
    "half a header": encoded(LARGE)[:20],
    "whole numbers without a scale": encoded(Image.fromarray(np.arange(864, dtype=np.int32).reshape(24, 36)), "TIFF"),
    "fractions": encoded(Image.fromarray(np.arange(864, dtype=np.float32).reshape(24, 36)), "TIFF"),
}
BY_PILLOW_ALONE = {kind: encoded(COLOUR, kind) for kind in ("BMP", "TIFF", "PPM")}
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {  # EXIF 2.3, table 6: what is to be done to the stored image (H W 3)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def shown(data: bytes, name: str, channels: int = 3) -> Pixels:
    """The largest square at the top left of an image, at its own resolution, by a decoder (S S C)."""
    width, height = opened(data, 3).size
    side = min(height, width)
    window = np.array([0, 0, width, height, width, height, 0, 0], dtype=np.int32)
    out = np.full((side, side, channels), 77, dtype=np.uint8)
    DECODERS[name](data, channels, window, Views(np.array([0]), window[None], side), out)
    return out


def digest(pixels: Pixels) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()[:12]


def test_recorded_pixels_of_exact_files() -> None:
    """Golden digests, in colour and in grey, of Pillow's pixels: another version that shows a file otherwise is met
    here and not in a study. In colour torchcodec's are the same; its grey is rounded otherwise, by one."""
    for kind, data in EXACT.items():
        assert (digest(shown(data, "pillow")), digest(shown(data, "pillow", 1))) == GOLDEN[kind], kind
        np.testing.assert_array_equal(shown(data, "torchcodec"), shown(data, "pillow"), err_msg=kind)
        apart = shown(data, "torchcodec", 1).astype(int) - shown(data, "pillow", 1)
        assert np.abs(apart).max() <= 1, kind


GOLDEN: dict[str, tuple[str, str]] = {
    "colour": ("df3f009e706d", "32bcd38eff93"),
    "grey": ("20f6e18d2d78", "32bcd38eff93"),
    "one bit": ("2cdc54da8ae1", "20d4f6ec9495"),
    "palette": ("037f869b19fd", "2258f52aeadf"),
    "palette, one colour transparent": ("037f869b19fd", "2258f52aeadf"),
    "transparent": ("df3f009e706d", "32bcd38eff93"),
    "grey, transparent": ("20f6e18d2d78", "32bcd38eff93"),
    "grey, 16 bits": ("3584e734d25c", "ab42679c4179"),
    "one pixel": ("06df4f7e1394", "beead77994cf"),
    "one line": ("709e80c88487", "6e340b9cffb3"),
    "turned 1": ("df3f009e706d", "32bcd38eff93"),
    "turned 2": ("649ae369adb2", "5833d96f951a"),
    "turned 3": ("720f9efe92c6", "35b18bc0426a"),
    "turned 4": ("688dec89b53f", "36131e8e64fc"),
    "turned 5": ("a24b5e8f7c38", "7c8431784821"),
    "turned 6": ("05771eeca77b", "caeeddbc3178"),
    "turned 7": ("e2f03f96980d", "cff246cdfbf2"),
    "turned 8": ("f6c1a008a1f6", "d1282dfa3aa1"),
}


@pytest.mark.parametrize("name", DECODERS)
def test_exact_files_are_what_was_drawn(name: str) -> None:
    """Reference: the arrays that the files were made of; transparency is dropped, 16 bits are v / 257 rounded, grey is
    ITU-R 601-2, rounded or rounded down."""
    colour, side = scene()[:, :HEIGHT], HEIGHT
    np.testing.assert_array_equal(shown(EXACT["colour"], name), colour)
    np.testing.assert_array_equal(shown(EXACT["transparent"], name), colour)
    grey = np.asarray(GREY)[:, :side, None]
    np.testing.assert_array_equal(shown(EXACT["grey"], name, 1), grey)
    np.testing.assert_array_equal(shown(EXACT["grey"], name), np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(shown(EXACT["grey, transparent"], name, 1), grey)
    np.testing.assert_array_equal(shown(EXACT["one bit"], name, 1), np.where(grey > 99, 255, 0))
    stripes = np.arange(side) % 16
    striped = np.stack([stripes * 17, 255 - stripes * 17, stripes * 5], axis=1)
    for kind in ("palette", "palette, one colour transparent"):
        np.testing.assert_array_equal(shown(EXACT[kind], name), np.broadcast_to(striped, (side, side, 3)))
    np.testing.assert_array_equal(shown(EXACT["grey, 16 bits"], name, 1)[..., 0], np.rint(DEEP[:, :side] / 257))
    np.testing.assert_array_equal(shown(EXACT["one pixel"], name), [[[9, 8, 7]]])
    weighted = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(shown(EXACT["colour"], name, 1)[..., 0] - weighted).max() < 1.01  # torchcodec's rounds down


def test_a_malformed_tag_beside_the_orientation_does_no_harm(tmp_path: Path) -> None:
    """Viewers show such pictures; Pillow's `exif_transpose` writes all tags anew, and raises struct.error. Reference:
    the same picture with the orientation alone. `look` takes them, too."""
    entries = (struct.pack("<HHIHH", ORIENTATION, 3, 1, 6, 0), struct.pack("<HHI4s", 0x0128, 2, 1, b"x"))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + struct.pack("<I", 0)
    odd, usual = (encoded(COLOUR, "JPEG", quality=95, exif=one) for one in (exif, turned(6)))
    with pytest.raises(struct.error):
        ImageOps.exif_transpose(Image.open(io.BytesIO(odd)))
    np.testing.assert_array_equal(np.asarray(opened(odd, 3)), np.asarray(opened(usual, 3)))
    (tmp_path / "odd.jpg").write_bytes(odd)
    assert square(tmp_path / "odd.jpg", 8)[1] >= {TURNED}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_shown_upright(orientation: int, name: str) -> None:
    """Reference: EXIF's table of orientations, by numpy: PNG exactly, JPEG to what its compression changes."""
    upright = UPRIGHT[orientation](scene())[:HEIGHT, :HEIGHT]
    np.testing.assert_array_equal(shown(EXACT[f"turned {orientation}"], name), upright)
    lossy = shown(LOSSY[f"turned {orientation}"], name).astype(int)
    assert np.abs(lossy - upright).mean() < 3
    assert opened(LOSSY[f"turned {orientation}"], 3).size[::-1] == UPRIGHT[orientation](scene()).shape[:2]


@pytest.mark.parametrize("kind", LOSSY)
def test_decoders_agree_on_what_is_lossy(kind: str) -> None:
    """Within 2 of 255 of each other, which leaves room for two versions of libjpeg, and near to what was drawn."""
    both = [shown(LOSSY[kind], name).astype(int) for name in ("pillow", "torchcodec")]
    assert np.abs(both[0] - both[1]).max() <= 2
    if not kind.startswith("turned"):
        drawn = np.asarray(GREY.convert("RGB") if kind == "grey" else COLOUR)[:, :HEIGHT].astype(int)
        assert np.abs(both[0] - drawn).mean() < 3
    greys = [shown(LOSSY[kind], name, 1).astype(int) for name in ("pillow", "torchcodec")]
    assert np.abs(greys[0] - greys[1]).max() <= 2


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_decoded_is_said_on_one_line(kind: str, name: str) -> None:
    """One error for all, with a reason; no address of an object, which would differ from run to run."""
    data = UNREADABLE[kind]
    window = np.array([0, 0, 24, 24, 24, 24, 0, 0], dtype=np.int32)
    with pytest.raises(UnreadableError) as refusal:
        DECODERS[name](data, 3, window, Views(np.array([0]), window[None], 24), np.empty((24, 24, 3), dtype=np.uint8))
    assert str(refusal.value) and "\n" not in str(refusal.value) and "0x" not in str(refusal.value)
    with pytest.raises(UnreadableError):
        opened(data, 3)


@pytest.mark.parametrize("kind", ["TGA", "PCX", "ICO", "JPEG2000"])
def test_any_other_format_goes_by_pillow(kind: str) -> None:
    """Whatever its name ends in: what has been packed can be decoded by either. Reference: Pillow."""
    data = encoded(COLOUR, kind, **({"sizes": [COLOUR.size]} if kind == "ICO" else {}))
    np.testing.assert_array_equal(shown(data, "torchcodec"), shown(data, "pillow"))


@pytest.mark.parametrize("kind", BY_PILLOW_ALONE)
def test_formats_that_torchcodec_does_not_read(kind: str) -> None:
    """They go by Pillow, as the facts of the decoder say; that torchcodec refuses them is held here, so that a version
    that reads them is noticed."""
    for name in DECODERS:
        np.testing.assert_array_equal(shown(BY_PILLOW_ALONE[kind], name), scene()[:, :HEIGHT])
    assert kind in facts("torchcodec")["others"]
    with pytest.raises((RuntimeError, ValueError)):
        decode_image(BY_PILLOW_ALONE[kind])


def test_colours_of_16_bits_are_the_high_bytes_by_pillow_and_rounded_by_torchcodec() -> None:
    """A difference of one that is known: Pillow has no colour of 16 bits and drops the low byte while it reads."""
    deep = np.stack([DEEP, DEEP[::-1], DEEP[:, ::-1]], axis=2)
    np.testing.assert_array_equal(shown(png_16(deep), "pillow"), (deep >> 8)[:, :HEIGHT])
    np.testing.assert_array_equal(shown(png_16(deep), "torchcodec"), np.rint(deep / 257)[:, :HEIGHT])


def test_an_image_of_too_many_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's guard against decompression bombs, which warns first and refuses at twice that: here it always does."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(UnreadableError, match="more than 500 pixels"):
        opened(EXACT["colour"], 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableError, match="exceeds limit"):
        opened(EXACT["colour"], 3)


def test_squares_are_those_of_torchvision() -> None:
    """Reference: torchvision's Resize and CenterCrop on the same image, pixel by pixel, for many sizes."""
    from torchvision.transforms import CenterCrop, Resize

    draw = np.random.default_rng(0)
    for _ in range(40):
        height, width = (int(one) for one in draw.integers(9, 80, 2))
        side, shorter = (int(one) for one in np.sort(draw.integers(8, 60, 2)))
        data = encoded(Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)))
        (window,) = squares(np.array([[height, width]]), side, shorter)
        out = np.empty((side, side, 3), dtype=np.uint8)
        DECODERS["pillow"](data, 3, window, Views(np.array([0]), window[None], side), out)
        expected = CenterCrop(side)(Resize(shorter)(Image.open(io.BytesIO(data))))
        np.testing.assert_array_equal(out, np.asarray(expected))


def large(orientation: int = 1, kind: str = "JPEG", height: int = 243, width: int = 301) -> bytes:
    """A smooth photograph, whose sides no block of 8 divides."""
    return encoded(Image.fromarray(scene(height, width)), kind, quality=95, exif=turned(orientation))


def view(
    data: bytes, name: str, window: tuple[int, ...], side: int, channels: int = 3, filter: str = "bilinear"
) -> Any:
    out, row = np.full((side, side, channels), 77, dtype=np.uint8), np.array(window, dtype=np.int32)
    DECODERS[name](data, channels, row, Views(np.array([0]), row[None], side, filter), out)
    return out


@pytest.mark.parametrize(
    ("window", "side", "scale"),
    [
        ((0, 0, 301, 243, 150, 121, 10, 0), 121, 2),  # the whole of a test image, and of that a square
        ((0, 0, 301, 243, 151, 121, 10, 0), 121, 1),  # 301 are not twice 151
        ((8, 16, 200, 160, 50, 50, 0, 0), 50, 2),  # four times in width, in height not
        ((8, 16, 200, 200, 50, 50, 0, 0), 50, 4),
        ((16, 8, 160, 200, 20, 20, 0, 0), 20, 8),
        ((16, 8, 160, 200, 20, 26, 0, 0), 20, 4),
        ((16, 8, 280, 230, 9, 9, 0, 0), 9, 8),  # a sixteenth would do: an eighth is the most
        ((3, 5, 97, 99, 48, 48, 0, 0), 48, 2),
        ((3, 5, 40, 50, 48, 48, 0, 0), 48, 1),  # enlarged
    ],
)
def test_a_reduced_scale_is_the_smallest_that_leaves_enough(window: tuple[int, ...], side: int, scale: int) -> None:
    """Reference: Pillow's own `draft` to that scale, its window cut out and resized by hand. At the edges, which see
    what lies beside the window, and where it begins within a reduced pixel, resized from a box."""
    left, top, width, height, columns, rows, x, y = window
    data = large()
    file = Image.open(io.BytesIO(data))
    file.draft("RGB", (301 // scale, 243 // scale))
    assert file.size == (-(-301 // scale), -(-243 // scale))
    edges = [one / scale for one in (left, top, left + width, top + height)]
    found = view(data, "pillow-reduced", window, side)
    if scale > 1:
        by_box = file.resize((columns, rows), Image.Resampling.BILINEAR, tuple(edges))
        np.testing.assert_array_equal(found, np.asarray(by_box.crop((x, y, x + side, y + side))))
    if all(one.is_integer() for one in edges) or scale == 1:
        by_hand = file.crop(tuple(round(one) for one in edges)).resize((columns, rows), Image.Resampling.BILINEAR)
        cut = np.asarray(by_hand.crop((x, y, x + side, y + side))).astype(int)
        assert np.abs(found - cut)[1:-1, 1:-1].max() <= (0 if scale == 1 else 1)
    reference = view(data, "pillow", window, side)
    assert np.array_equal(found, reference) == (scale == 1)
    assert np.abs(found.astype(int) - reference).max() <= 8


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_reduced_image_is_shown_where_it_was(orientation: int, channels: int) -> None:
    """Turned, too, where the pixels that fill its last block lie before the image. Reference: Pillow's pixels, of ramps
    on which a shift by one pixel is 1 of 255."""
    data = large(orientation)
    width, height = opened(data, 3).size
    for window in ((0, 0, width, height, 26, 26, 0, 0), (3, 6, 220, 230, 27, 25, 1, 0)):
        found, expected = (view(data, name, window, 25, channels).astype(int) for name in ("pillow-reduced", "pillow"))
        assert np.abs((found - expected).mean(axis=(0, 1))).max() < 0.3
        assert not np.array_equal(found, expected)


def test_only_jpeg_is_reduced() -> None:
    """CMYK and with a second image (MPO), too; other formats are as by Pillow, and a torn file is refused."""
    window = (0, 0, 301, 243, 30, 30, 0, 0)
    for kind in ("PNG", "WEBP", "BMP"):
        data = encoded(Image.fromarray(scene(243, 301)), kind)
        np.testing.assert_array_equal(view(data, "pillow-reduced", window, 30), view(data, "pillow", window, 30))
    several = encoded(LARGE, "MPO", save_all=True, append_images=[LARGE])
    assert Image.open(io.BytesIO(several)).format == "MPO"
    for data in (several, encoded(LARGE.convert("CMYK"), "JPEG")):
        window = (0, 0, 300, 200, 30, 20, 0, 0)
        found, expected = (view(data, name, window, 20).astype(int) for name in ("pillow-reduced", "pillow"))
        assert 0 < np.abs(found - expected).max() <= 8
    with pytest.raises(UnreadableError, match="truncated"):
        view(large()[:-600], "pillow-reduced", (0, 0, 301, 243, 30, 30, 0, 0), 30)


def test_decoders_are_the_same_in_every_list_of_them() -> None:
    """The command and cluster.toml name them without loading Pillow. NVIDIA's is none of them (docs/studies.md)."""
    from typing import get_args

    from benchmarks.cli.run import run
    from slurm.cluster import Cluster

    (option,) = (one for one in run.params if one.name == "decoder")
    assert set(option.type.choices) == set(DECODERS)  # type: ignore[attr-defined]
    assert set(get_args(Cluster.model_fields["decoder"].annotation)) == set(DECODERS)
    with pytest.raises(ConfigError, match="unknown decoder 'nvidia'; there are pillow, torchcodec, pillow-reduced"):
        check_decoder("nvidia")


def test_a_decoder_is_known_by_name_and_versions() -> None:
    assert facts("pillow")["name"] == "pillow" and "libjpeg" in facts("pillow")
    assert facts("torchcodec")["resize"].startswith("torch ")
    assert {**facts("pillow"), "name": "pillow-reduced", "reduced": REDUCED} == facts("pillow-reduced")
    assert not differences({"decoder": facts("pillow-reduced")})
    assert differences({"decoder": {**facts("pillow-reduced"), "reduced": "by 16"}}) != []
    with pytest.raises(ConfigError, match=r"unknown decoder 'pilow'; there are .*did you mean `pillow`"):
        check_decoder("pilow")
