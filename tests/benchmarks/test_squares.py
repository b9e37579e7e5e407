"""`prepare --square`: made photographs of several sizes, orientations and colours become squares of one size."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.cli.main import main
from benchmarks.console import counting, terminal
from benchmarks.data import folders
from benchmarks.data.decoders import ORIENTATION
from benchmarks.data.store import load_images
from benchmarks.errors import InductiveError
from benchmarks.running.prepare import data_set
from benchmarks.running.squares import ABOUT, ENLARGED, TURNED, WHITE, square, write_squares

NAME, SIDE = "folder:pets", 16


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    yield
    folders.declared.cache_clear()
    load_images.cache_clear()


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    noise = generator.integers(-20, 20, (height, width, 3))
    return Image.fromarray((np.asarray(coarse.resize((width, height))) + noise).clip(0, 255).astype(np.uint8))


def fill(tree: Path, count: int = 5) -> None:
    for number, label in enumerate(("ape", "cat")):
        (tree / label).mkdir(parents=True, exist_ok=True)
        for each in range(count):
            photograph(30 + 10 * each, 60 - 7 * each, 10 * number + each).save(tree / label / f"{each}.jpg")


def write(data: Path, name: str = NAME, side: int = SIDE) -> list[str]:
    return list(write_squares(name, side, data, lambda what, total: counting(terminal(), what, total)))


def expected(image: Image.Image, side: int = SIDE) -> np.ndarray:
    """Pillow's own antialiased bilinear step, from the middle of the image."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    middle = image.crop((left, top, left + short, top + short))
    return np.asarray(middle.resize((side, side), Image.Resampling.BILINEAR)).astype(int)


def close(image: Image.Image, reference: np.ndarray) -> bool:
    """To one level of 256: Pillow rounds after each of two axes."""
    return image.size == reference.shape[1::-1] and abs(np.asarray(image).astype(int) - reference).max() <= 1


@pytest.mark.parametrize("size", [(47, 31), (31, 47), (40, 40), (200, 17), (9, 12), (16, 16)])
def test_the_middle_is_resized_as_pillow_does(size: tuple[int, int], tmp_path: Path) -> None:
    """Wide, tall, square, enlarged, and as it is. Reference: Pillow's resize."""
    photograph(*size).save(tmp_path / "a.png")
    image, special = square(tmp_path / "a.png", SIDE)
    assert close(image, expected(photograph(*size)))
    assert special == ({ENLARGED} if min(size) < SIDE else set())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(orientation: int, tmp_path: Path) -> None:
    """Reference: the upright image, put on its side by the inverse of what EXIF's standard says of each orientation."""
    upright = photograph(40, 24)
    flip = Image.Transpose
    way = {2: flip.FLIP_LEFT_RIGHT, 3: flip.ROTATE_180, 4: flip.FLIP_TOP_BOTTOM, 5: flip.TRANSPOSE,
           6: flip.ROTATE_90, 7: flip.TRANSVERSE, 8: flip.ROTATE_270}  # fmt: skip
    stored = upright.transpose(way[orientation]) if orientation in way else upright
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    image, special = square(tmp_path / "a.png", SIDE)
    assert close(image, expected(upright))
    assert special == (set() if orientation == 1 else {TURNED})


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "CMYK", "P"])
def test_every_kind_of_colour(mode: str, tmp_path: Path) -> None:
    """Grey stays grey, all else becomes RGB. Reference: Pillow's conversion."""
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    made = photograph(40, 30).convert(mode)
    made.save(path)
    image, special = square(path, SIDE)
    grey = mode in ("L", "1")
    assert (image.mode, special) == ("L" if grey else "RGB", set())
    assert close(image, expected(made.convert("L" if grey else "RGB")))


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    """By hand: half of an image is wholly transparent and red underneath; half of a grey one is half transparent."""
    pixels = np.zeros((20, 20, 4), dtype=np.uint8)
    pixels[:, :, 0], pixels[:10, :, 3] = 200, 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image, special = square(tmp_path / "a.png", 20)
    assert special == {WHITE}
    assert image.getpixel((5, 5)) == (200, 0, 0) and image.getpixel((5, 15)) == (255, 255, 255)
    grey = np.full((20, 20, 2), 100, dtype=np.uint8)
    grey[:10, :, 1], grey[10:, :, 1] = 255, 128
    Image.fromarray(grey, "LA").save(tmp_path / "b.png")
    image, _ = square(tmp_path / "b.png", 20)
    assert image.mode == "L" and image.getpixel((5, 5)) == 100
    assert image.getpixel((5, 15)) == pytest.approx(100 * 128 / 255 + 127, abs=1)
    opaque = np.full((20, 20, 4), 255, dtype=np.uint8)
    Image.fromarray(opaque).save(tmp_path / "c.png")
    assert square(tmp_path / "c.png", 20)[1] == set()


def test_a_tree_becomes_a_data_set(tmp_path: Path) -> None:
    """Its parts and classes stay; two files that differ in their ending alone stay two; what it says of them."""
    for part in ("train", "test"):
        fill(tmp_path / "pets" / part)
    photograph(50, 50).save(tmp_path / "pets" / "train" / "ape" / "0.png")
    (tmp_path / "pets" / "train" / "cat" / "phone.heic").write_bytes(b"")
    said = write(tmp_path)
    assert "1 .heic" in said[0]
    assert said[1].startswith(f"{NAME}: 21 images as squares of 16 pixels in {tmp_path / 'pets-16px'}: ")
    assert len(list((tmp_path / "pets-16px").rglob("*.png"))) == 21
    images = load_images("folder:pets-16px", tmp_path)
    assert (images.train.shape, images.test.shape) == ((11, 3, 16, 16), (10, 3, 16, 16))
    assert images.train_labels.tolist() == [0] * 6 + [1] * 5
    first = Image.open(tmp_path / "pets" / "train" / "ape" / "0.jpg")
    assert abs(images.train[0].transpose(1, 2, 0).astype(int) - expected(first)).max() <= 1


@pytest.mark.parametrize("name", ["folder:pets/", "folder:./pets", "folder:dogs/../pets", "folder:{}/pets/."])
def test_one_folder_is_one_data_set_however_it_is_named(name: str, tmp_path: Path) -> None:
    """The squares of a folder are found again under each of its names. Reference: the folders that there are."""
    fill(tmp_path / "pets")
    (tmp_path / "dogs").mkdir()
    write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert "from before; nothing is written" in write(tmp_path, name.format(tmp_path))[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Again: nothing to do. Other images, or a folder of that name: refused. Reference: the files' times of change."""
    fill(tmp_path / "pets")
    write(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "pets-16px").rglob("*")}
    assert "from before; nothing is written" in write(tmp_path)[0]
    photograph(20, 20).save(tmp_path / "pets" / "ape" / "new.jpg")
    with pytest.raises(InductiveError, match=r"pets-16px is there, and not made of the images .*as they are now"):
        write(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "pets-16px").rglob("*")} == before
    (tmp_path / "pets-16px" / ABOUT).unlink()
    with pytest.raises(InductiveError, match="nothing is overwritten"):
        write(tmp_path)


def test_every_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """No image, half of one, 16 bits a channel: all in one error, and nothing is left behind."""
    fill(tmp_path / "pets")
    (tmp_path / "pets" / "ape" / "0.jpg").write_bytes(b"no image")
    whole = (tmp_path / "pets" / "cat" / "1.jpg").read_bytes()
    (tmp_path / "pets" / "cat" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    Image.new("I;16", (20, 20)).save(tmp_path / "pets" / "cat" / "deep.png")
    with pytest.raises(InductiveError, match=r"3 of 11 images cannot be read; nothing is written") as refusal:
        write(tmp_path)
    for file in ("ape/0.jpg", "cat/1.jpg", "cat/deep.png: PIL's mode I;16"):
        assert file in str(refusal.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pets"]


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_the_command_goes_on_with_the_squares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Photographs as they are are packed; as squares they are another data set, indexed and decoded, with the names of
    its classes."""
    fill(tmp_path / "pets")
    data = ("--data", str(tmp_path))
    code, said, error = call(capsys, "prepare", "--dataset", NAME, *data)
    assert (code, "folder:pets: packed into" in said) == (0, True), error
    code, said, error = call(capsys, "prepare", "--dataset", NAME, "--square", "16", *data)
    assert code == 0, error
    assert "folder:pets-16px: 2 classes: ape, cat" in said
    assert "folder:pets-16px: decoded to" in said
    code, _, error = call(capsys, "prepare", "--dataset", "digits", "--square", "16", *data)
    assert (code, "--square: needs --dataset folder:PATH" in error) == (2, True)
    code, _, error = call(capsys, "prepare", "--dataset", "folder:dogs", "--square", "16", *data)
    assert (code, f"there is no folder {tmp_path / 'dogs'}" in error) == (2, True)


def test_every_name_is_looked_at_before_anything_is_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours of packing do not come before a slip in the second name."""
    fill(tmp_path / "pets")
    names = ("--dataset", NAME, "--dataset", "imagenete")
    code, said, error = call(capsys, "prepare", *names, "--data", str(tmp_path))
    assert (code, said, "did you mean `imagenette`?" in error) == (2, "", True)
    code, _, error = call(capsys, "prepare", NAME, "--data", str(tmp_path))
    assert (code, f"`inductive prepare --dataset {NAME}`" in error) == (2, True)


@pytest.mark.parametrize("part", ["", "train/"])
def test_domains_that_pass_for_classes_are_warned_of(part: str, tmp_path: Path) -> None:
    """A folder of domains (photo, sketch), each with a folder a class. Without inner folders, or with one each as in
    Tiny ImageNet, there is no warning."""
    for domain in ("photo", "sketch"):
        fill(tmp_path / "pets" / part / domain)
    for path in (tmp_path / "pets").rglob("*.jpg"):
        Image.open(path).resize((16, 16)).save(path)
    said = list(data_set(NAME, tmp_path))
    assert said[2] == f"{NAME}: 2 classes: photo, sketch"
    assert said[3].startswith(
        f"warning: {NAME}: images in folders inside a class folder (ape, cat) belong to that class"
    )
    assert said[3].endswith(f"{NAME}/{part}photo")
    for domain in ("photo", "sketch"):
        shutil.rmtree(tmp_path / "pets" / part / domain / "cat")
    assert not any("warning" in line for line in data_set(NAME, tmp_path))


def test_plan_names_the_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where domains would be taken for classes, before anything is trained."""
    for domain in ("photo", "sketch"):
        fill(tmp_path / "pets" / domain)
    for path in tmp_path.rglob("*.jpg"):
        Image.open(path).resize((16, 16)).save(path)
    study = 'dataset = "folder:pets"\ntrain_size = 10\nsize = "pico"\n[[models]]\nname = "resnet"\n'
    (tmp_path / "pets.toml").write_text(study)
    code, said, error = call(
        capsys, "plan", str(tmp_path / "pets.toml"), "--data", str(tmp_path), "--runs", str(tmp_path / "runs")
    )
    assert code == 0, error
    assert "folder:pets: 2 classes: photo, sketch\nwarning: folder:pets: images in" in said
