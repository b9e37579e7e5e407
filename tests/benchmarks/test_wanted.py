"""Which evaluations a study's [[evaluations]] tables mean, and how the wrong ones are refused."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

import models
from benchmarks.errors import ConfigError
from benchmarks.forecast.cost import PROBE_SECONDS, _attention, _images, evaluation_seconds, facts
from benchmarks.plan.evaluations import in_words
from benchmarks.plan.run import Evaluation, default_evaluation, make_run
from benchmarks.plan.study import Study, expand, load_study

HEAD = 'size = "pico"\n'
VIT = '[[models]]\nname = "vit"\n'
RESNET = '[[models]]\nname = "resnet"\n'


def study(text: str) -> Study:
    return expand(tomllib.loads(HEAD + text), "test")


def asked(one: Study, number: int = 0, part: str = "test") -> set[tuple[Any, ...]]:
    """(resolution, images, carry, crop, batchnorm) of a run's evaluations, but for those that every run has."""
    run = one.runs[number]
    found = [e for e in one.evaluations[run.id] if e.part == part]
    assert len(set(found)) == len(found)
    return {
        (e.resolution, e.images, e.carry, e.crop, e.batchnorm)
        for e in found
        if e != default_evaluation(run, e.part, e.resolution)
    }


def test_axes_multiply_and_each_part_is_measured() -> None:
    """Written out by hand. At the training resolution every kind of images is the same one."""
    text = '[[evaluations]]\nresolution = [8, 12]\nimages = ["resize", "canvas"]\ncrop = [1, 0.75]\n' + RESNET
    for part in ("test", "validation"):
        assert asked(study(text), part=part) == {
            (12, "canvas", "-", 1.0, "kept"),
            (8, "resize", "-", 0.75, "kept"),
            (12, "resize", "-", 0.75, "kept"),
            (12, "canvas", "-", 0.75, "kept"),
        }


def test_ids_tell_all_fields_apart_and_old_ones_stay() -> None:
    """References: the ids of before there were crops and BatchNorm; a field at its default is as one that is absent."""
    plain = Evaluation(part="test", resolution=12, images="resize", carry="recompute")
    assert plain.id == "0bb15e00" == Evaluation(**plain.model_dump()).id
    changes: list[dict[str, Any]] = [{}, {"images": "canvas"}, {"images": "patch"}, {"crop": 0.75}, {"crop": 0.5}]
    changes += [{"views": "mirrored"}, {"batchnorm": "reestimated"}, {"batchnorm": "reestimated", "crop": 0.5}]
    assert len({plain.model_copy(update=change).id for change in changes}) == len(changes)
    assert plain.model_copy(update=changes[-1]).words == "resize, carry recompute, crop 0.5, BatchNorm re-estimated"
    assert plain.model_copy(update={"views": "mirrored"}).words == "resize, carry recompute, with its mirror image"


def test_without_a_resolution_those_of_the_study_are_meant() -> None:
    text = 'test_resolutions = [4, 8, 12]\n[[evaluations]]\nimages = "canvas"\n' + RESNET
    assert {place[:2] for place in asked(study(text))} == {(4, "canvas"), (12, "canvas")}


def test_all_ways_are_each_models_own() -> None:
    """Reference: models.carry_ways. At the training resolution there is nothing to carry."""
    text = (
        '[[evaluations]]\nresolution = [8, 16]\ncarry = "all"\n'
        + RESNET
        + VIT
        + 'position = ["bias_2d", "none", "rope_axial"]'
    )
    one = study(text)
    assert asked(one, 0) == asked(one, 2) == set()
    for number, position in ((1, "bias_2d"), (3, "rope_axial")):
        ways = models.carry_ways("vit", options={"position": position})
        assert len(ways) > 1
        assert asked(one, number) == {(16, "resize", way, 1.0, "kept") for way in ways[1:]}


def test_what_a_kind_of_model_does_not_have_is_not_asked_of_it() -> None:
    """A way of carrying, patches and BatchNorm apply where they are; the others keep what they share."""
    text = """
        [[evaluations]]
        resolution = 12
        images = ["canvas", "patch"]
        batchnorm = ["kept", "reestimated"]
        [[evaluations]]
        resolution = 12
        carry = ["normalise", "rescale_base:base=700.0"]
    """
    one = study(text + RESNET + VIT + 'position = ["learned_1d", "rope_axial"]')
    default = models.carry_ways("vit", options={"position": "learned_1d"})[0]
    assert asked(one, 0) == {(12, "canvas", "-", 1.0, "kept"), (12, "canvas", "-", 1.0, "reestimated")}
    assert asked(one, 1) == {(12, "canvas", default, 1.0, "kept"), (12, "patch", "-", 1.0, "kept")}
    assert asked(one, 2) == {
        (12, "canvas", "recompute", 1.0, "kept"),
        (12, "patch", "-", 1.0, "kept"),
        (12, "resize", "normalise", 1.0, "kept"),
        (12, "resize", "rescale_base:base=700", 1.0, "kept"),
    }


def test_arms_and_models_may_want_their_own() -> None:
    """The nearer word wins, as for everything else; test_resolutions too."""
    text = f"""
        test_resolutions = [8, 12]
        [[evaluations]]
        crop = 0.5
        {RESNET}
        [[models]]
        name = "resnet"
        norm = "group"
        test_resolutions = 16
        [[models.evaluations]]
        crop = 0.75
        [[arms]]
        seed = 0
        [[arms]]
        seed = 1
        [[arms.evaluations]]
        crop = 0.25
    """
    one = study(text)
    runs = [(run.seed, run.options["norm"], {(e[0], e[3]) for e in asked(one, n)}) for n, run in enumerate(one.runs)]
    assert runs == [
        (0, "batch", {(8, 0.5), (12, 0.5)}),
        (0, "group", {(16, 0.75)}),
        (1, "batch", {(8, 0.25), (12, 0.25)}),
        (1, "group", {(16, 0.75)}),
    ]


def test_evaluations_change_no_id_of_a_run() -> None:
    """What breaks otherwise: asking for another view would train everything again."""
    text = '[[evaluations]]\nresolution = 12\nimages = "patch"\n'
    assert study(text + VIT).runs == study(VIT).runs


def test_impossible_ones_are_refused_or_left_out_and_listed() -> None:
    """A patch of 4 on 8 px grows to 4 x 10 / 8 = 5, but not to 4 x 9 / 8."""
    text = '[[evaluations]]\nresolution = [9, 10]\nimages = "patch"\n' + VIT + "patch_size = 4"
    with pytest.raises(ConfigError, match=r"^evaluations\[0\]\.resolution \(with models\[0\]: vit 4 .*nearest 8, 10$"):
        study(text)
    one = study('invalid = "leave_out"\n' + text)
    assert asked(one) == {(10, "patch", "-", 1.0, "kept")}
    assert [what for what, _ in one.left_out] == ["vit 4 size pico, an evaluation"]
    assert "image 9 needs patches of 4 x 9 / 8 pixels" in one.left_out[0][1]
    with pytest.raises(ConfigError, match=r"^models\[0\]\.evaluations\[0\]\.resolution .*image 9 is not divisible"):
        study(VIT + "[[models.evaluations]]\nresolution = 9\n")


def test_mirror_images_are_for_those_that_keep_their_meaning() -> None:
    """A mirrored digit is no digit; the forecast counts both images."""
    text = '[[evaluations]]\nviews = ["one", "mirrored"]\n' + RESNET
    with pytest.raises(ConfigError, match=r"^evaluations\[0\]\.views .*mirror images of digits mean something else"):
        study(text)
    colour = 'dataset = "cifar10"\ntrain_size = 100\nvalidation = 0\n[[evaluations]]\nviews = ["one", "mirrored"]\n'
    one = study(colour + RESNET)
    usual, mirrored = one.evaluations[one.runs[0].id]
    assert mirrored == usual.model_copy(update={"views": "mirrored"})
    assert _images(one.runs[0], mirrored, 50) == 2 * _images(one.runs[0], usual, 50) == 100


@pytest.mark.parametrize("model", ["vit", "coatnet", "resnet", "swin", "mlp"])
def test_an_evaluation_is_priced_by_what_its_resolution_takes(model: str) -> None:
    """Reference: the multiply-accumulates counted at each resolution: attention's grow with the square of the area. By
    the area alone a ViT at three times its side takes half of what it does. An MLP sees 32 px in any case; Swin's
    windows are filled up at 24 and 48 px, which no forecast counts."""
    run = make_run({"model": model, "size": "nano", "dataset": "cifar10", "train_size": 100})
    tested = [Evaluation(resolution=side) for side in (24, 32, 48, 64, 96)]
    attention = _attention(run, tested)
    assert (attention > 0.01) == (model in ("vit", "coatnet"))
    for one in tested:
        counted = facts(run, one.resolution).macs / facts(run).macs
        assert _images(run, one, 50, attention) == pytest.approx(50 * counted, rel=0.15 if model == "swin" else 0.003)
    assert _images(run, Evaluation(resolution=96, images="patch"), 50, attention) == 50
    if model == "vit":
        assert facts(run, 96).macs > 2 * 9 * facts(run).macs


WRONG = [
    ("evaluations = 3\n", "evaluations: is not a list of tables: write [[evaluations]]"),
    ("[[evaluations]]\nresolutoin = 8\n", "evaluations[0].resolutoin: unknown; did you mean `resolution`?"),
    ("[[evaluations]]\nresolution = []\n", "evaluations[0].resolution: is an empty list"),
    ("[[evaluations]]\nresolution = [8, 0]\n", "evaluations[0].resolution: 0 should be greater than or equal to 1"),
    ("[[evaluations]]\nresolution = 8.5\n", "evaluations[0].resolution: 8.5 should be a valid integer"),
    ("[[evaluations]]\n[[evaluations]]\nimages = 'canvs'\n", "evaluations[1].images: 'canvs' should be 'resize', "),
    ("[[evaluations]]\nimages = 'canvs'\n", "did you mean `canvas`?"),
    ("[[evaluations]]\ncrop = 1.5\n", "evaluations[0].crop: 1.5 should be less than or equal to 1"),
    ("[[evaluations]]\ncrop = 0\n", "evaluations[0].crop: 0 should be greater than 0"),
    ("[[evaluations]]\nbatchnorm = 'reestimate'\n", "did you mean `reestimated`?"),
    ("[[evaluations]]\npart = 'test'\n", "evaluations[0].part: unknown"),
    ("[[evaluations]]\ncarry = 'interpolat'\n", "evaluations[0].carry: 'interpolat': no model of the study is carried"),
    ("[[evaluations]]\ncarry = 'recompute'\n", "there are default, all, interpolate:interpolation=bicubic_antialias, "),
    ("[[evaluations]]\ncarry = ['all', 'defualt']\n", "did you mean `default`?"),
    ("[[evaluations]]\ncarry = 'interpolate:interpolation=bilinaer'\n", "mean `interpolate:interpolation=bilinear`?"),
    (
        "[[evaluations]]\nbatchnorm = 'reestimated'\n",
        "evaluations[0].batchnorm: 'reestimated': no model of the study has",
    ),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_wrong_tables_are_refused_with_file_and_key(text: str, expected: str, tmp_path: Path) -> None:
    """The error is the interface, before anything runs."""
    path = tmp_path / "x.toml"
    path.write_text(HEAD + text + VIT)
    with pytest.raises(ConfigError) as refusal:
        load_study(str(path))
    assert str(refusal.value).startswith(f"{path}: evaluations")
    assert expected in str(refusal.value)


def test_patches_that_no_model_has() -> None:
    with pytest.raises(ConfigError, match=r"^evaluations\[0\].images: 'patch': no model of the study cuts its images"):
        study('[[evaluations]]\nimages = "patch"\n' + RESNET)


def test_the_place_of_an_option() -> None:
    """The option's own key, not its table alone."""
    with pytest.raises(ConfigError, match=r"^models\[1\]\.position: model vit: option `position` is 'rope_axal'"):
        study(RESNET + VIT + 'position = "rope_axal"')
    with pytest.raises(
        ConfigError, match=r"^models\[0\]\.rope_base: model vit: option `rope_base` belongs to position"
    ):
        study(VIT + "rope_base = 10")


SHIFTS = [("shift", strength) for strength in (1, 2, 3, 4)]  # one of 6 is more than half of 8 pixels


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('probe = "shift"', SHIFTS),
        ('probe = ["patch_shuffle", "noise_image"]', [("patch_shuffle", 1), ("patch_shuffle", 2), ("patch_shuffle", 3),
                                                      ("noise_image", 1)]),
        ('probe = "patch_drop"\nstrength = [2, 9]', [("patch_drop", 2), ("patch_drop", 9)]),
        ('probe = "all"\nstrength = 5\nresolution = 12', [
            *((name, 5) for name in ("rotation", "scale", "blur", "noise", "brightness", "contrast", "occlusion",
                                     "patch_drop", "object_size", "fewer_pixels"))]),
    ],
)  # fmt: skip
def test_probes(table: str, expected: list[tuple[str, int]]) -> None:
    """Written out by hand: every strength that suits 8 pixels, on the test part, and at the training resolution unless
    another is named; the test resolutions of the study stay those it tests at without."""
    one = study(f"test_resolutions = [4, 12]\n[[evaluations]]\n{table}\n{RESNET}")
    found = [how for how in one.evaluations[one.runs[0].id] if how.probe != "-"]
    assert [(how.probe, how.strength) for how in found] == expected
    assert {how.part for how in found} == {"test"}
    assert {how.resolution for how in found} == {12 if "resolution" in table else 8}
    assert one.test_resolutions == (4, 12)


def test_the_whole_battery_of_digits() -> None:
    """63: five strengths of ten probes but for the largest shift, three grids, nine shares, and two controls."""
    one = study(f'[[evaluations]]\nprobe = "all"\n{RESNET}')
    run = one.runs[0]
    found = [how for how in one.evaluations[run.id] if how.probe != "-"]
    assert len({how.id for how in found}) == 10 * 5 - 1 + 3 + 9 + 2 == len(found)
    assert found[0].unprobed == default_evaluation(run, "test", 8)
    assert found[0].words == "resize, probe shift 1"
    several = in_words([(run, found)])
    assert len(several) == 14 and several[0] == ("8 px, resize, probe shift", (run.id,))
    plain = default_evaluation(run, "test", 8)
    changing = 63 * 597 * 64 * PROBE_SECONDS  # of 8 x 8 grey pixels
    assert evaluation_seconds(run, found) == pytest.approx(64 * evaluation_seconds(run, [plain]) + changing)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('probe = "blr"', r"^evaluations\[0\]\.probe: 'blr' is no probe; there are all, shift, .*did you mean `blur`"),
        ('probe = "blur"\nstrength = 6', r"^evaluations\[0\]\.strength: 6 is out of range: blur goes from 1 to 5"),
        ('probe = "all"\nstrength = 0', r"\.strength: 0 is out of range: the probes go from 1 to 9"),
        ('probe = "noise_image"\nstrength = 2', r"\.strength: 2 is out of range: noise_image has 1 alone"),
        ("strength = 2", r"^evaluations\[0\]\.strength: is that of a probe, and there is none"),
        ('probe = "shift"\nstrength = 5', r"^evaluations\[0\]\.probe.*shift: 6 pixels are more than half"),
        ('probe = "all"\nstrength = 5.5', r"\.strength: .*integer"),
    ],
)
def test_probes_that_there_are_not(table: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(f"[[evaluations]]\n{table}\n{RESNET}")
