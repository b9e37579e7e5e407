"""Photographs decoded ahead: the same pixels however many processes decode them, and whatever happens to those."""

import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import functional as reference

from benchmarks.data.dataset import Images
from benchmarks.data.decoding import WORDS, Decoding, Squares, _say, decoded_by
from benchmarks.data.photographs import Photographs, Store, Views, squares
from benchmarks.data.store import load_images
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.plan.recipes import Recipe
from benchmarks.training import augment

NAME = "folder:photos"
REQUESTS, BATCH, SIDE = 7, 13, 24


@pytest.fixture(scope="module")
def images(photographs: Path) -> Images:
    """A packed folder of 180 photographs."""
    return load_images(NAME, photographs)


@pytest.fixture(scope="module")
def store(images: Images) -> Store:
    assert isinstance(images.train, Photographs)
    return images.train.store


def request(store: Store, number: int, pixels: int = SIDE) -> Views:
    """Random-resized crops of images drawn for each request; the last one is smaller."""
    draws = np.random.default_rng(number)
    count = BATCH if number < REQUESTS - 1 else 5
    which = draws.integers(0, len(store), count)
    sizes = store.index["size"][which]
    found = augment.windows(draws.random((count, augment.WINDOW_DRAWS)), *sizes.T, Recipe(rrc_scale=0.1))
    top, left, rows, columns = (values.astype(np.int32) for values in found)
    side, zero = np.full_like(top, pixels), np.zeros_like(top)
    return Views(which, np.stack((left, top, columns, rows, side, side, zero, zero), 1), pixels)


def all_of(store: Store, decoder: str, workers: int, pixels: int = SIDE) -> list[NDArray[np.uint8]]:
    with Decoding(store, decoder, workers) as decoding:
        stream = decoding.stream(lambda number: request(store, number, pixels), REQUESTS, (BATCH, pixels))
        taken = [stream.take(number).copy() for number in range(REQUESTS)]
        stream.close()
    return taken


@pytest.mark.parametrize("workers", [0, 1, 2, 7])
def test_pixels_are_those_of_torchvision(workers: int, store: Store) -> None:
    """For any number of workers. Reference: torchvision's `resized_crop` of Pillow's image, on the same windows."""
    for number, pixels in enumerate(all_of(store, "pillow", workers)):
        views = request(store, number)
        for image, (left, top, columns, rows, *_), found in zip(
            views.images, views.windows.tolist(), pixels, strict=True
        ):
            file = Image.open(BytesIO(store.read(int(image)))).convert("RGB")
            expected = reference.resized_crop(file, top, left, rows, columns, [SIDE, SIDE])
            np.testing.assert_array_equal(found, np.asarray(expected))


def test_torchcodec_gives_the_same_pixels_for_any_number_of_workers(store: Store) -> None:
    """And nearly those of Pillow: the same JPEG library, resized in another arithmetic (1 of 255)."""
    here, there, pillow = all_of(store, "torchcodec", 0), all_of(store, "torchcodec", 2), all_of(store, "pillow", 0)
    for one, other, near in zip(here, there, pillow, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.abs(one.astype(int) - near).max() <= 1


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_a_reduced_scale_gives_the_same_pixels_for_any_number_of_workers(workers: int, store: Store) -> None:
    """Other ones than Pillow's where a JPEG's window has twice the pixels that are shown, and there alone."""
    here, there, pillow = (
        all_of(store, *how, 8) for how in (("pillow-reduced", 0), ("pillow-reduced", workers), ("pillow", 0))
    )
    reduced = 0
    for number in range(REQUESTS):
        np.testing.assert_array_equal(here[number], there[number])
        views = request(store, number, 8)
        for image, window, found, expected in zip(
            views.images, views.windows, here[number], pillow[number], strict=True
        ):
            enough = min(window[2:4]) >= 2 * 8 and store.read(int(image)).startswith(b"\xff\xd8")
            assert np.array_equal(found, expected) != enough
            assert np.abs(found.astype(int) - expected).mean() < 4
            reduced += enough
    assert reduced > 20


@pytest.mark.parametrize("workers", [0, 2])
def test_requests_can_be_taken_in_any_order(workers: int, store: Store) -> None:
    expected = all_of(store, "pillow", 0)
    with Decoding(store, "pillow", workers) as decoding:
        stream = decoding.stream(lambda number: request(store, number), REQUESTS, (BATCH, SIDE))
        for number in (3, 4, 0, 1, 1, 6, 2):
            np.testing.assert_array_equal(stream.take(number), expected[number])


def test_two_streams_share_the_workers(store: Store) -> None:
    """As training and its measuring on the validation part do; memory that was given back is used again."""
    expected = all_of(store, "pillow", 0)
    with Decoding(store, "pillow", 2) as decoding:
        sizes = set()
        first = decoding.stream(lambda number: request(store, number), REQUESTS, (BATCH, SIDE))
        for number in range(REQUESTS):
            np.testing.assert_array_equal(first.take(number), expected[number])
            second = decoding.stream(lambda number: request(store, number), REQUESTS, (BATCH, SIDE))
            np.testing.assert_array_equal(second.take(REQUESTS - 1), expected[REQUESTS - 1])
            second.close()
            assert decoding._workers is not None
            sizes.add(decoding._workers._size)
    assert len(sizes) == 1


def loop_of_torchvision(u: NDArray[np.float64], height: int, width: int, recipe: Recipe) -> tuple[int, ...]:
    """RandomResizedCrop.get_params as torchvision 0.29 has it, with given numbers in place of drawn ones."""
    low, high = 1 / recipe.rrc_ratio, recipe.rrc_ratio
    for one in range(10):
        area = height * width * (recipe.rrc_scale + u[one] * (1 - recipe.rrc_scale))
        aspect = np.exp(np.log(low) + u[10 + one] * (np.log(high) - np.log(low)))
        columns, rows = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < columns <= width and 0 < rows <= height:
            return int(u[20] * (height - rows + 1)), int(u[21] * (width - columns + 1)), rows, columns
    if width / height < low:
        rows, columns = round(width / low), width
    elif width / height > high:
        rows, columns = height, round(height * high)
    else:
        rows, columns = height, width
    return (height - rows) // 2, (width - columns) // 2, rows, columns


@pytest.mark.parametrize("scale", [0.05, 0.5, 0.98])
def test_windows_of_images_of_any_shape(scale: float) -> None:
    """Also where none of ten fits, as in very wide and very high ones. Reference: torchvision's loop."""
    draws = np.random.default_rng(0)
    sizes = np.concatenate([draws.integers(1, 400, (400, 2)), [[10, 400], [400, 10], [1, 1], [1, 300]]])
    u, recipe = draws.random((len(sizes), augment.WINDOW_DRAWS)), Recipe(rrc_scale=scale)
    found = np.stack(augment.windows(u, sizes[:, 0], sizes[:, 1], recipe), 1)
    expected = [
        loop_of_torchvision(one, int(high), int(wide), recipe) for one, (high, wide) in zip(u, sizes, strict=True)
    ]
    np.testing.assert_array_equal(found, np.array(expected))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("side", "shorter"), [(32, 32), (28, 32), (21, 24)])
def test_squares_are_resized_and_cut_as_torchvision_does(side: int, shorter: int, workers: int, images: Images) -> None:
    """Slices of any length, and images by their numbers. Reference: torchvision's Resize, then CenterCrop."""
    assert isinstance(images.test, Photographs)
    store, rows = images.test.store, images.test.rows
    files = [Image.open(BytesIO(store.read(int(row)))).convert("RGB") for row in rows]
    expected = np.stack(
        [
            np.asarray(reference.center_crop(reference.resize(file, [shorter]), [side])).transpose(2, 0, 1)
            for file in files
        ]
    )
    with Decoding(store, "pillow", workers) as decoding:
        shown = Squares(decoded_by(images, decoding).test, side, shorter)
        assert shown.shape == expected.shape
        for count in (5, 7, len(shown)):
            for start in range(0, len(shown), count):
                np.testing.assert_array_equal(shown[start : start + count], expected[start : start + count])
        some = np.array([3, 1, 1, 20])
        np.testing.assert_array_equal(shown[some], expected[some])
        np.testing.assert_array_equal(shown[4:9], expected[4:9])  # in the middle


def test_wide_images_are_resized_as_torchvision_resizes_them() -> None:
    """To the last pixel of the longer side. Reference: torchvision's Resize."""
    for height, width in ((33, 120), (120, 33), (375, 500), (500, 333), (97, 97), (7, 1000)):
        *_, columns, rows, left, top = squares(np.array([[height, width]]), 24, 29)[0].tolist()
        assert (columns, rows) == reference.resize(Image.new("L", (width, height)), [29]).size
        assert (left, top) == (round((columns - 24) / 2), round((rows - 24) / 2))


def copied(store: Store, folder: Path) -> Store:
    folder.mkdir()
    for file in store.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return Store(folder)


def flip_a_byte(store: Store, image: int) -> None:
    row, shard = store.index[image], store.folder / store.manifest.shards[0].file
    data = bytearray(shard.read_bytes())
    data[int(row["offset"]) + int(row["bytes"]) // 2] ^= 1
    shard.write_bytes(bytes(data))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("harm", ["a flipped byte", "a shard cut short", "no shard"])
def test_a_damaged_shard_is_named_with_its_image(harm: str, workers: int, store: Store, tmp_path: Path) -> None:
    """Everything before the image can still be had."""
    copy = copied(store, tmp_path / "copy")
    image, shard = 50, copy.folder / copy.manifest.shards[0].file
    words = {
        "a flipped byte": "other bytes",
        "a shard cut short": "ends after",
        "no shard": "cannot be read: No such file",
    }
    if harm == "a flipped byte":
        flip_a_byte(copy, image)
    elif harm == "no shard":
        shard.unlink()
    else:
        os.truncate(shard, int(copy.index["offset"][image]) + 10)
    whole = squares(copy.index["size"], SIDE, SIDE)

    def one(number: int) -> Views:
        return Views(np.array([number]), whole[[number]], SIDE)

    with Decoding(copy, "pillow", workers) as decoding:
        stream = decoding.stream(one, len(copy), (1, SIDE))
        with pytest.raises(InductiveError, match=words[harm]) as raised:
            for number in range(len(copy)):
                stream.take(number)
    assert number == (0 if harm == "no shard" else image)
    assert str(shard) in str(raised.value)
    assert copy.name(number) in str(raised.value)
    assert f"inductive prepare --dataset {NAME}" in str(raised.value)


def test_what_the_last_of_several_workers_says_is_all_that_is_read() -> None:
    """Pieces of one request may all fail, and leave their texts in one place: of a longer one nothing may be left."""
    memory = mmap.mmap(-1, 3 * WORDS)
    for text in ("000.images: image 123 is damaged", "000.images: image 59 is damaged", "x" * (WORDS + 5)):
        _say(memory, WORDS, text)
        assert memory[WORDS : 2 * WORDS].rstrip(b"\0").decode() == text[-WORDS:]
    assert not any(memory[:WORDS]) and not any(memory[2 * WORDS :])


def test_a_decoder_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"unknown decoder 'pilow'.*did you mean `pillow`"):
        Decoding(store, "pilow")


def endless(store: Store, decoding: Decoding) -> Iterator[NDArray[np.uint8]]:
    stream = decoding.stream(lambda number: request(store, number % REQUESTS), 10**6, (BATCH, SIDE))
    yield from map(stream.take, range(10**6))


def test_a_worker_that_is_killed_ends_the_run_with_its_reason(store: Store) -> None:
    with Decoding(store, "pillow", 2) as decoding:
        pixels = endless(store, decoding)
        next(pixels)
        assert decoding._workers is not None
        for process in decoding._workers.processes:
            process.kill()
        with pytest.raises(InductiveError, match=r"a process that decodes images has ended \(SIGKILL"):
            for _ in pixels:
                pass


ORPHANS = """
import sys, time
from pathlib import Path
from benchmarks.data.decoding import Decoding
from benchmarks.data.photographs import Store
decoding = Decoding(Store(Path(sys.argv[1])), "pillow", 3)
print(*(process.pid for process in decoding._workers.processes), flush=True)
time.sleep(600)
"""


def test_workers_end_when_their_parent_is_killed(store: Store) -> None:
    """And no signal of a terminal or a cluster ends them before."""
    command = [sys.executable, "-c", ORPHANS, str(store.folder)]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        time.sleep(1.5)  # they begin to ignore signals
        for pid in workers:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
                os.kill(pid, number)
        time.sleep(0.2)
        assert all(Path(f"/proc/{pid}").exists() for pid in workers)
        parent.kill()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_torch_is_loaded_to_decode_by_pillow() -> None:
    """Each of many workers would take as much memory as a run."""
    code = "import sys, benchmarks.data.decoding; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert done.stdout == "False\n"
