"""Whether the files of a data set are the official ones, by sums that are known, or by their official archive.

torchvision compares MD5 sums of archives while unpacking, and has those of the files of CIFAR, SVHN and STL-10. What
MNIST's like unpack to has no sums there. So of these files the sums below are compared; of the others the content of
the official archive, while it lies beside them. What nobody can vouch for is "unverified", in the record and the page.
"""

import gzip
import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.data.dataset import FOLDER, OWN, Dataset
from benchmarks.errors import InductiveError
from benchmarks.files import write_atomic

UNVERIFIED = "unverified"

# MD5 sums of the unpacked files. Fashion-MNIST's are of the content of archives with the official MD5 sums; MNIST's
# are those that many programs compare with, such as secml's loader (gitlab.com/secml/secml-zoo).
UNPACKED = {
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
BY_TORCHVISION = ("cifar10", "cifar100", "svhn", "stl10")  # whose classes have sums of their files
TINY_IMAGENET = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_IMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"


def checked(spec: Dataset, data: Path) -> str:
    """'verified: by what', or 'unverified: why', of the files of a data set that are there to be read.

    Raises InductiveError, naming the file, for one that is certainly not the official one.
    """
    if spec.name.startswith(FOLDER):
        return OWN
    if not spec.files:
        return f"verified: {spec.reference}"
    if spec.name in UNPACKED:
        return _by_sums(spec, data)
    if spec.name in BY_TORCHVISION:
        return _by_torchvision(spec, data)
    if spec.name == "tiny_imagenet":
        return _by_tiny_imagenet(data)
    if spec.name == "emnist_letters":
        return _by_emnist(spec, data)
    return _by_archives(spec, data)


def unpack(spec: Dataset, data: Path) -> None:
    """Unpacks MNIST's like from archives that were compressed anew, which torchvision would download again.

    Only what has a known sum: a file that has another one stays packed, and torchvision says what is wrong with it.
    """
    for file, md5 in UNPACKED.get(spec.name, {}).items():
        path = data / spec.kind / "raw" / file
        packed = path.with_name(f"{file}.gz")
        if packed.is_file() and not path.exists():
            content = _gunzipped(packed)
            if _md5(content) == md5:
                write_atomic(path, content)


def _by_sums(spec: Dataset, data: Path) -> str:
    for file, md5 in UNPACKED[spec.name].items():
        path = data / spec.kind / "raw" / file
        found = _md5(path.read_bytes())
        if found != md5:
            raise InductiveError(
                f"{path}: damaged: its MD5 sum is {found}, the official file's {md5}; remove it, then `inductive "
                f"prepare --dataset {spec.name}` gets it again"
            )
    return "verified: MD5 sums of its unpacked files"


def _by_torchvision(spec: Dataset, data: Path) -> str:
    """By the sums that torchvision's class has of its files, which it compares while it reads them, too."""
    from torchvision import datasets

    kind: Any = getattr(datasets, spec.kind)
    same = import_module(kind.__module__).check_integrity
    listed = [*getattr(kind, "train_list", ()), *getattr(kind, "test_list", ())]
    if about := getattr(kind, "meta", None):
        listed.append((about["filename"], about["md5"]))
    listed += [(file, md5) for _, file, md5 in getattr(kind, "split_list", {}).values()]
    sums = dict(map(tuple, listed))
    for file in spec.files:
        if not same(str(data / file), sums[Path(file).name]):
            raise InductiveError(
                f"{data / file}: damaged: its MD5 sum is not the official file's, {sums[Path(file).name]}; remove it, "
                f"then `inductive prepare --dataset {spec.name}` gets it again"
            )
    return "verified: MD5 sums of its files"


def _by_archives(spec: Dataset, data: Path) -> str:
    """Files beside the archives that they were unpacked from, each packed alone (KMNIST)."""
    from torchvision import datasets

    archives = getattr(getattr(datasets, spec.kind, None), "resources", ())
    if not archives:
        return f"{UNVERIFIED}: its files have no known sums"
    for file, md5 in archives:
        packed = data / spec.kind / "raw" / file
        if not packed.is_file():
            return f"{UNVERIFIED}: its files have no known sums, and {file} does not lie beside them"
        if _md5(packed.read_bytes()) != md5:
            _gunzipped(packed)
            return f"{UNVERIFIED}: {file} has another MD5 sum than the official archive"
        _compare(packed.with_suffix(""), _gunzipped(packed), packed)
    return "verified: by the official archives beside its files"


def _by_emnist(spec: Dataset, data: Path) -> str:
    from torchvision.datasets import EMNIST

    archive = data / "EMNIST" / "raw" / "gzip.zip"
    if why := _lacks(archive, EMNIST.md5):
        return why
    with zipfile.ZipFile(archive) as packed:
        for file in spec.files:
            _compare(data / file, gzip.decompress(packed.read(f"gzip/{Path(file).name}.gz")), archive)
    return "verified: by the official archive beside its files"


def _by_tiny_imagenet(data: Path) -> str:
    archive = data / Path(TINY_IMAGENET).name
    if why := _lacks(archive, TINY_IMAGENET_MD5):
        return why
    place = data / "tiny-imagenet-200"
    with zipfile.ZipFile(archive) as packed:
        sums = {one.filename: one.CRC for one in packed.infolist()}
    for path in _images(place):
        if zlib.crc32(path.read_bytes()) != sums.get(path.relative_to(data).as_posix()):
            return f"{UNVERIFIED}: {path.relative_to(data)} is not as in the official archive"
    return "verified: by the official archive beside its files"


def by_tar(archives: Mapping[Path, str], root: Path, files: Sequence[Path]) -> str:
    """Files beside the archives (with their MD5 sums) that hold them under their paths from `root`: photographs."""
    for archive, md5 in archives.items():
        if why := _lacks(archive, md5):
            return why
    left = {file.relative_to(root).as_posix(): file for file in files}
    for archive in archives:
        with tarfile.open(archive, "r|*") as packed:
            for member in packed:
                path = left.pop(member.name.removeprefix("./"), None)
                content = packed.extractfile(member) if path is not None else None
                if path is not None and (content is None or content.read() != path.read_bytes()):
                    raise InductiveError(f"{path}: damaged: not what the official archive {archive.name} holds; remove "
                                         "it")  # fmt: skip
    if left:
        return f"{UNVERIFIED}: {min(left)} is not in the official archive"
    return "verified: by the official archive beside its files"


def _images(place: Path) -> Iterator[Path]:
    for part in ("train", "val"):
        yield from sorted(path for path in (place / part).rglob("*") if path.suffix in (".JPEG", ".txt"))


def _lacks(archive: Path, md5: str) -> str:
    """Why an archive vouches for nothing; '' when it is the official one."""
    if not archive.is_file():
        return f"{UNVERIFIED}: its files have no known sums, and {archive.name} does not lie beside them"
    with archive.open("rb") as file:
        if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() != md5:
            return f"{UNVERIFIED}: {archive.name} has another MD5 sum than the official archive"
    return ""


def _compare(path: Path, official: bytes, archive: Path) -> None:
    if path.read_bytes() != official:
        raise InductiveError(f"{path}: damaged: not what the official archive {archive.name} holds; remove it")


def _gunzipped(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InductiveError(f"{path}: damaged: it cannot be unpacked ({error}); remove it") from error


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
