"""The data sets: what is known of each without loading it. Their files are read in readers.py, once.

Planning, ids and refusals use `dataset(name)` alone, which imports nothing heavy. A data set of the user's own,
`folder:PATH`, is declared by an index of its folder (folders.py), a drawn one, `drawn:PROBE-PIXELS`, in drawn/, and
published photographs by the manifest of what `inductive prepare` packed.
"""

from dataclasses import replace
from functools import lru_cache

from benchmarks.data.dataset import DRAWN, FOLDER, Dataset, Places, Published
from benchmarks.data.drawn import probes
from benchmarks.data.folders import declared, index_of
from benchmarks.errors import ConfigError, UnpreparedError
from models.hints import did_you_mean


def _files(name: str) -> str:
    return f"benchmarks.data.readers:{name}"


def _mnist_like(name: str, title: str, kind: str, counts: tuple[int, ...], megabytes: int, reference: str) -> Dataset:
    """A set in MNIST's format; none of them is mirrored: digits and letters would become other signs or none."""
    files = tuple(f"{kind}/raw/{part}-ubyte" for part in (
        "train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"))  # fmt: skip
    return Dataset(name, title, 1, 28, 32, counts, 10_000, False, _files("read_mnist"), reference,
                   kind=kind, files=files, megabytes=megabytes)  # fmt: skip


def _cifar(name: str, kind: str, folder: str, names: tuple[str, ...], classes: int, megabytes: int) -> Dataset:
    return Dataset(
        name, f"CIFAR-{classes} (32x32, colour)", 3, 32, 32, (50_000 // classes,) * classes, 10_000, True,
        _files("read_cifar"), "Krizhevsky, Learning multiple layers of features from tiny images, 2009",
        kind=kind, files=tuple(f"{folder}/{file}" for file in names), megabytes=megabytes,
    )  # fmt: skip


_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
_LETTERS = tuple(f"EMNIST/raw/emnist-letters-{part}-ubyte" for part in (
    "train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1"))  # fmt: skip

_DIGITS = Dataset(
    "digits", "handwritten digits (scikit-learn, 8x8, grey)", 1, 8, 8,
    (119, 121, 118, 122, 121, 122, 121, 120, 116, 120), 597, False, _files("read_digits"),
    "bundled with scikit-learn (UCI ML hand-written digits, test part)", interpolation_only=True,
)  # fmt: skip

DATASETS = {
    spec.name: spec
    for spec in (
        _DIGITS,
        replace(
            _DIGITS, name="digits_shuffled_labels", reader=_files("read_shuffled_digits"),
            title="digits, the labels of the training part in another order",
            reference="digits, training labels shuffled by the suite; chance 10%, and nothing better is possible",
        ),
        _mnist_like(
            "mnist", "handwritten digits (28x28, grey)", "MNIST",
            (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949), 12,
            "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998",
        ),
        _mnist_like(
            "fashion_mnist", "articles of clothing (28x28, grey)", "FashionMNIST", (6000,) * 10, 31,
            "Xiao, Rasul and Vollgraf, arXiv:1708.07747, 2017",
        ),
        _mnist_like(
            "kmnist", "cursive Japanese characters (28x28, grey)", "KMNIST", (6000,) * 10, 21,
            "Clanuwat et al., arXiv:1812.01718, 2018",
        ),
        Dataset(
            "emnist_letters", "handwritten letters, both cases as one (28x28, grey)", 1, 28, 32, (4800,) * 26, 20_800,
            False, _files("read_emnist_letters"), "Cohen, Afshar, Tapson and van Schaik, arXiv:1702.05373, 2017",
            kind="EMNIST", files=_LETTERS, megabytes=562,
        ),
        _cifar("cifar10", "CIFAR10", "cifar-10-batches-py", _BATCHES, 10, 170),
        _cifar("cifar100", "CIFAR100", "cifar-100-python", ("train", "test", "meta"), 100, 169),
        Dataset(
            "svhn", "house numbers (32x32, colour)", 3, 32, 32,
            (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659), 26_032, False, _files("read_svhn"),
            "Netzer et al., Reading digits in natural images with unsupervised feature learning, 2011",
            kind="SVHN", files=("SVHN/train_32x32.mat", "SVHN/test_32x32.mat"), megabytes=246,
        ),
        Dataset(
            "stl10", "STL-10, labelled part (96x96, colour)", 3, 96, 64, (500,) * 10, 8000, True,
            _files("read_stl10"), "Coates, Lee and Ng, An analysis of single-layer networks, 2011",
            kind="STL10", megabytes=2640,
            files=tuple(f"stl10_binary/{file}.bin" for file in ("train_X", "train_y", "test_X", "test_y")),
        ),
        Dataset(
            "tiny_imagenet", "Tiny ImageNet (64x64, colour; its validation part is the test part)", 3, 64, 64,
            (500,) * 200, 10_000, True, _files("read_tiny_imagenet"),
            "Stanford CS231n; a part of ImageNet, Russakovsky et al., arXiv:1409.0575, 2014",
            files=("tiny-imagenet-200/train", "tiny-imagenet-200/val"), megabytes=248,
        ),
    )
}  # fmt: skip


def _photographs(name: str, title: str, kind: str, counts: tuple[int, int, int], files: tuple[str, ...], megabytes: int,
                 reference: str) -> Published:  # fmt: skip
    images, test, classes = counts
    listing = f"benchmarks.data.listings:{name}"
    return Published(name, title, images, test, classes, listing, reference, kind, files, megabytes)


PHOTOGRAPHIC = 224  # pixels: the reference scale next to the median shorter side of every one of these
_WNIDS = ("imagenet/train", "imagenet/val")
PHOTOGRAPHS = {
    one.name: one
    for one in (
        _photographs("imagenet", "ImageNet", "ImageNet", (1_281_167, 50_000, 1000), _WNIDS, 0,
                     "Russakovsky et al., arXiv:1409.0575, 2014; its validation part is the test part"),
        _photographs("imagenet100", "100 classes of ImageNet", "ImageNet", (126_689, 5000, 100), _WNIDS, 0,
                     "the classes of Tian, Krishnan and Isola, arXiv:1906.05849, 2019"),
        _photographs("imagenette", "Imagenette", "Imagenette", (9469, 3925, 10), ("imagenette2",), 1557,
                     "Howard, github.com/fastai/imagenette, 2019"),
        _photographs("caltech101", "Caltech 101", "Caltech101", (6942, 1735, 101), ("caltech101/101_ObjectCategories",),
                     137, "Li, Andreeto, Ranzato and Perona, Caltech 101, 2003"),
        _photographs("pets", "Oxford-IIIT Pet", "OxfordIIITPet", (3680, 3669, 37),
                     ("oxford-iiit-pet/images", "oxford-iiit-pet/annotations"), 811,
                     "Parkhi, Vedaldi, Zisserman and Jawahar, Cats and dogs, 2012"),
        _photographs("flowers102", "Oxford 102 Flower", "Flowers102", (2040, 6149, 102), ("flowers-102/jpg",), 345,
                     "Nilsback and Zisserman, Automated flower classification over a large number of classes, 2008"),
        _photographs("food101", "Food-101", "Food101", (75_750, 25_250, 101), ("food-101/images", "food-101/meta"),
                     4997, "Bossard, Guillaumin and Van Gool, Food-101: mining discriminative components, 2014"),
    )
}  # fmt: skip


def is_data_set(name: str) -> bool:
    """Whether a name is, or has the form of, that of a data set."""
    return name.startswith((FOLDER, DRAWN)) or name in DATASETS or name in PHOTOGRAPHS


def dataset(name: str, places: Places | None = None) -> Dataset:
    """The data set of this name; `places` is where a folder of images is looked for.

    Raises ConfigError with the nearest match."""
    if name.startswith(FOLDER):
        return declared(name, places or Places())
    if name.startswith(DRAWN):
        return probes.declared(name)
    if name in PHOTOGRAPHS:
        return _published(PHOTOGRAPHS[name], places or Places())
    if name not in DATASETS:
        known = (*DATASETS, *PHOTOGRAPHS, *probes.names())
        data = (places or Places()).data
        own = data is not None and name.strip("./") and (data / name).is_dir()
        hint = f"; did you mean `{FOLDER}{name}`?" if own else did_you_mean(name, known)
        raise ConfigError("dataset", f"unknown data set '{name}'; there are {', '.join(known)} and {FOLDER}PATH{hint}")
    return DATASETS[name]


@lru_cache(maxsize=64)
def _published(published: Published, places: Places) -> Dataset:
    """Raises UnpreparedError, naming the command, where it is not packed, nor kept with the records."""
    try:
        index = index_of(published.name, places)
    except UnpreparedError:
        if not places.as_published:
            raise
        return _unprepared(published)
    return replace(
        index.dataset(),
        title=f"{published.title} ({index.extent}; {index.split})",
        reference=published.reference,
        kind=published.kind,
        files=published.files,
        megabytes=published.megabytes,
    )


def _unprepared(published: Published) -> Dataset:
    """What is known of a data set before it is packed: its counts, of classes that are taken to be of one size."""
    each, more = divmod(published.images, published.classes)
    counts = tuple(each + (label < more) for label in range(published.classes))
    return Dataset(
        published.name, f"{published.title} (as published; not prepared)", 3, PHOTOGRAPHIC, PHOTOGRAPHIC, counts,
        published.test, True, "benchmarks.data.readers:read_photographs", published.reference, photographs=True,
        kind=published.kind, files=published.files, megabytes=published.megabytes,
    )  # fmt: skip


def forget() -> None:
    """What data sets were declared to be is looked up anew: their files have changed."""
    declared.cache_clear()
    _published.cache_clear()


def listed() -> tuple[Dataset, ...]:
    """Every data set that has a name, drawn ones at one of their resolutions."""
    return (*DATASETS.values(), *map(probes.declared, probes.names()))
