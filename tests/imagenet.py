"""ImageNet as tests have it: declared, with its counts and none of its images; or a few photographs in its layout."""

from dataclasses import replace
from pathlib import Path

import pytest
from photographs import write_photographs

from benchmarks.data import catalogue
from benchmarks.data.folders import COPIES
from benchmarks.files import write_json

IMAGES, TEST, CLASSES = 1_281_167, 50_000, 1000
FULL, FEWEST, MOST = 895, 732, 1300  # classes that have MOST images; the others have from FEWEST on


def class_counts() -> tuple[int, ...]:
    """Images of each class: as many classes are full as in ImageNet, and the others lie between its fewest and MOST.

    Which class has how many is made up, for none of its files is here."""
    others = [FEWEST + place * (MOST - 1 - FEWEST) // (CLASSES - FULL - 1) for place in range(CLASSES - FULL)]
    missing = IMAGES - FULL * MOST - sum(others)
    place = 1
    while missing:  # from the second on, so that FEWEST stays the fewest
        added = min(missing, MOST - 1 - others[place])
        others[place] += added
        missing -= added
        place += 1
    counts = [MOST] * CLASSES
    for place, count in enumerate(others):
        counts[place * 9 + 4] = count
    return tuple(counts)


def declare_imagenet(runs: Path) -> Path:
    """Keeps with the records under `runs` the index of an ImageNet that was packed elsewhere."""
    (runs / COPIES).mkdir(parents=True, exist_ok=True)
    index = {
        "name": "imagenet", "classes": [f"n{number:08d}" for number in range(CLASSES)], "channels": 3, "pixels": 224,
        "train_counts": class_counts(), "test_count": TEST, "split": "its own val part", "fingerprint": "", "times": {},
        "format": 1, "photographs": True, "sides": [32, 375, 5000], "bytes": 150 * 10**9, "decoded": 750 * 10**9,
        "shards": 64,
    }  # fmt: skip
    write_json(runs / COPIES / "imagenet.json", index)
    return runs


def write_imagenet(data: Path, monkeypatch: pytest.MonkeyPatch, classes: int = 4, each: int = 36, test: int = 6) -> int:
    """Photographs of varied sizes as torchvision unpacks ImageNet, train/WNID and val/WNID, and the catalogue told that
    ImageNet has so many. Returns how many are for training."""
    names = [f"n{number:08d}" for number in range(classes)]
    for part, count in (("train", each), ("val", test)):
        write_photographs(data / "imagenet" / part, count, names)
    small = replace(catalogue.PHOTOGRAPHS["imagenet"], images=classes * each, test=classes * test, classes=classes)
    monkeypatch.setitem(catalogue.PHOTOGRAPHS, "imagenet", small)
    return classes * each
