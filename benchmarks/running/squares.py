"""`inductive prepare --dataset folder:PATH --square PIXELS`: photographs of any size as squares of one size.

They go into a new folder beside the first, `PATH-64px` for 64 pixels, which a study then names; no file is changed or
overwritten. The middle of each upright image, as wide as its shorter side, is resized by the function that resizes in
training and evaluation: so width and height are scaled alike.
"""

import posixpath
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.data import decoders, folders, store
from benchmarks.data.dataset import FOLDER
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.files import read_json_or, write_json
from benchmarks.running import local
from benchmarks.training.batches import resize

ABOUT = "squares.json"  # in the new folder: of which images it was made, and how
HOW = "the middle of each image, as wide as its shorter side, by one antialiased bilinear step"
TURNED = "turned upright (EXIF)"
WHITE = "transparent in part, laid on white"
ENLARGED = "smaller, and enlarged"
TOGETHER = 256  # images that wait for a thread: Ctrl-C waits for few of them
NAMED = 10  # files that an error names
UNREADABLE = (*store.BROKEN, *decoders.BROKEN)  # what PIL raises for damaged files

Show = Callable[[str, int], AbstractContextManager[Callable[[], None]]]  # console.counting


def squares_name(name: str, side: int) -> str:
    """The data set that the squares of `folder:PATH` are, however its path is written."""
    return f"{usual_name(name)}-{side}px"


def usual_name(name: str) -> str:
    """The one name of a data set `folder:PATH` that studies take."""
    return f"{FOLDER}{posixpath.normpath(name.removeprefix(FOLDER))}"


def write_squares(name: str, side: int, data: Path, show: Show) -> Iterator[str]:
    """Writes the squares of a data set `folder:PATH` and says what it did. Once it is done, it does nothing.

    Raises InductiveError where the new folder is there with something else in it, and naming the files that cannot be
    read; then nothing is written.
    """
    name = usual_name(name)
    source = folders.place(name, data)
    if not source.is_dir():
        raise ConfigError("--dataset", f"'{name}': there is no folder {source}")
    files = folders.image_files(name, data)
    new = squares_name(name, side)
    target = folders.place(new, data)
    about = {"of": name, "images": folders.fingerprint(source, files), "pixels": side, "how": HOW}
    if target.exists():
        made = read_json_or(target / ABOUT)
        if not isinstance(made, dict) or {**made, "of": name} != about:  # one folder has many names
            raise InductiveError(
                f"{target} is there, and not made of the images of {source} as they are now; nothing is overwritten: "
                f"remove it, or use it as it is (--dataset {new} without --square)"
            )
        yield f"{name}: its squares of {side} pixels are in {target}, from before; nothing is written"
        return
    if left_out := folders.other_files(name, data):
        yield left_out
    making = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        done = _write_all(files, source, making, side, show)
        write_json(making / ABOUT, about)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    special = "".join(f"; {count:,} {what}" for what, count in sorted(done.items()))
    yield f"{name}: {len(files):,} images as squares of {side} pixels in {target}: {HOW}{special}"


def _write_all(files: list[Path], source: Path, folder: Path, side: int, show: Show) -> Counter[str]:
    """Writes every square; counts what was done to some. Raises InductiveError naming those that cannot be read."""
    places = Counter(_place(path, source) for path in files)
    if twice := [place for place, times in places.items() if times > 1]:
        raise InductiveError(
            f"{source}: two images would both become {twice[0]}; nothing is written. Rename one of them"
        )
    done, unreadable = Counter[str](), list[str]()
    write = partial(_write, source=source, folder=folder, side=side)
    with show("squares", len(files)) as count, ThreadPoolExecutor(local.slots("cpu")) as threads:
        for start in range(0, len(files), TOGETHER):
            for special, problem in threads.map(write, files[start : start + TOGETHER]):
                done.update(special)
                unreadable += [problem] if problem else []
                count()
    if unreadable:
        more = f"\n... and {len(unreadable) - NAMED:,} more" if len(unreadable) > NAMED else ""
        raise InductiveError(
            f"{len(unreadable):,} of {len(files):,} images cannot be read; nothing is written. Repair or remove:\n"
            + "\n".join(unreadable[:NAMED])
            + more
        )
    return done


def _place(path: Path, source: Path) -> Path:
    """Where the square of an image lies within its folder."""
    inside = path.relative_to(source)
    return inside if path.suffix.lower() == ".png" else Path(f"{inside}.png")  # a.jpg and a.png are two


def _write(path: Path, source: Path, folder: Path, side: int) -> tuple[set[str], str]:
    """Writes one square as PNG. Returns what was special about it, and what is wrong with the file ('' for nothing)."""
    place = folder / _place(path, source)
    try:
        image, special = square(path, side)
    except UNREADABLE as error:
        return set(), f"{path}: {error}"
    place.parent.mkdir(parents=True, exist_ok=True)
    image.save(place, "PNG")
    return special, ""


def square(path: Path, side: int) -> tuple[Image.Image, set[str]]:
    """The image of a file, grey or RGB, side x side, and what was special about it (TURNED, WHITE, ENLARGED).

    CMYK, YCbCr and palettes become RGB by Pillow's formulas, without colour profiles. Raises ValueError for an image of
    more than 8 bits a channel, and what Pillow raises for a file that is damaged (UNREADABLE).
    """
    special = set()
    with Image.open(path) as opened:
        if opened.mode not in (*folders.GREY, *folders.COLOUR, "PA"):
            raise ValueError(f"PIL's mode {opened.mode}; images must have 8 bits a channel")
        grey = opened.mode in folders.GREY
        turn = decoders.turn_of(opened)
        if turn is None:
            image = opened.copy()
        else:
            special.add(TURNED)
            image = opened.transpose(turn)
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        if np.asarray(colours)[..., 3].min() < 255:
            special.add(WHITE)
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(colours)
        image = white
    image = image.convert("L" if grey else "RGB")
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    if short < side:
        special.add(ENLARGED)
    pixels = np.array(image.crop((left, top, left + short, top + short))).reshape(short, short, -1)
    resized = resize(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), side)[0]
    whole = resized.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).squeeze(2)
    return Image.fromarray(whole.numpy()), special
