"""The measuring script: its method on clocks of the test's own, its tables on tiny batches. No test asserts a time."""

import itertools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from warm import Started

import models
from benchmarks.errors import InductiveError
from benchmarks.speed import against_timm, draws, encodings
from benchmarks.speed.__main__ import bench
from benchmarks.speed.clock import MachineClock, Plan, Turn, Variant, ratios, summarise, take_turns
from benchmarks.speed.tables import Table, contention_words, write_block, write_card_block
from benchmarks.training.pixels import Selected
from models.network import AttentionForm


class FakeClock:
    """Time passes when a variant's call says so, and others use what it says."""

    def __init__(self) -> None:
        self.time, self.used = 0.0, 0.0
        self.calls: list[str] = []
        self.naps = 0
        self.busy_naps = 0  # during so many naps others use a whole core

    def now(self) -> float:
        return self.time

    def others(self) -> float | None:
        return self.used

    def sleep(self, seconds: float) -> None:
        self.naps += 1
        self.time += seconds
        self.used += seconds * (self.naps <= self.busy_naps)

    def variant(
        self, name: str, seconds: Sequence[float], used: Sequence[float] = (0.0,), reference: str = "a"
    ) -> Variant:
        """Takes the given seconds, call after call, then for ever the last; others use `used` cores meanwhile."""
        times = itertools.chain(seconds, itertools.repeat(seconds[-1]))
        cores = itertools.chain(used, itertools.repeat(used[-1]))

        def call() -> None:
            self.calls.append(name)
            duration = next(times)
            self.time += duration
            self.used += duration * next(cores)

        return Variant(name, call, reference)


def plan(rounds: int = 3, most: int = 10, warmup: int = 1, seconds: float = 0.0, patience: float = 0.0) -> Plan:
    return Plan(rounds, most, warmup, seconds, patience)


def test_variants_take_turns_after_a_warm_up_that_does_not_count() -> None:
    """A B A B ...: the first, slow call of each is in no turn."""
    clock = FakeClock()
    turns = take_turns([clock.variant("a", [50, 1]), clock.variant("b", [90, 2])], plan(), clock)
    assert clock.calls == ["a", "b"] * 4
    assert turns == {"a": [Turn(1, 0.0)] * 3, "b": [Turn(2, 0.0)] * 3}


def test_a_turn_is_as_many_calls_as_fill_it() -> None:
    """0.25 s a call fill one second in four; the turn says the seconds of one call."""
    clock = FakeClock()
    turns = take_turns([clock.variant("a", [0.25])], plan(rounds=1, seconds=1.0), clock)
    assert (len(clock.calls), turns["a"]) == (1 + 4, [Turn(0.25, 0.0)])


def test_ratios_are_taken_within_a_round() -> None:
    """Both slow down together, as when a CPU clocks down: the ratio stays. Reference: numpy's percentiles."""
    clock = FakeClock()
    variants = [clock.variant("a", [1, 1, 10, 2, 4, 4]), clock.variant("b", [1, 1.1, 12, 2.6, 4, 6])]
    turns = take_turns(variants, plan(rounds=5), clock)
    expected = np.array([1.1, 1.2, 1.3, 1.0, 1.5])
    assert ratios(turns, "b", "a") == pytest.approx(expected)
    summary = summarise(turns, "b", "a")
    assert (summary.low, summary.ratio, summary.high) == pytest.approx(np.percentile(expected, [25, 50, 75]))
    assert summary.seconds == np.median([1.1, 12, 2.6, 4, 6])


def test_dirty_turns_do_not_count_and_are_made_up_for() -> None:
    """Others use half a core in the reference's second turn and in the variant's third: two rounds more are taken."""
    clock = FakeClock()
    variants = [clock.variant("a", [1], [0, 0, 0.5, 0]), clock.variant("b", [2, 2, 2, 9, 2], [0, 0, 0, 0.5, 0.1])]
    turns = take_turns(variants, plan(rounds=3), clock)
    assert [turn.clean for turn in turns["a"]] == [True, False, True, True, True]
    assert [turn.clean for turn in turns["b"]] == [True, True, False, True, True]
    summary = summarise(turns, "b", "a")
    assert (summary.ratio, summary.seconds, summary.clean, summary.taken) == (2, 2, 3, 5)
    assert contention_words(turns).startswith("8 of 10 turns were clean")
    assert "0.5 cores" in contention_words(turns)


@pytest.mark.parametrize(("patience", "naps"), [(100.0, 4), (1.0, 2), (0.0, 0)])
def test_a_dirty_turn_waits_for_quiet(patience: float, naps: int) -> None:
    """Others go on for three naps of half a second: the fourth finds quiet, unless patience ends before."""
    clock = FakeClock()
    clock.busy_naps = 3
    take_turns([clock.variant("a", [1], [0, 1, 0])], plan(patience=patience), clock)
    assert clock.naps == naps


def test_on_a_busy_machine_it_ends_without_numbers() -> None:
    """Not one clean round: no ratio, and no more than the most rounds."""
    clock = FakeClock()
    turns = take_turns([clock.variant("a", [1]), clock.variant("b", [1], [1.0])], plan(most=4), clock)
    summary = summarise(turns, "b", "a")
    assert (summary.seconds, summary.ratio, summary.clean, summary.taken) == (None, None, 0, 4)


def test_an_interruption_leaves_the_whole_rounds() -> None:
    """Ctrl-C in the third round: two are left of each variant; in the first, there is nothing to leave."""

    def interrupted_at(turn: int) -> Variant:
        calls = itertools.count()

        def call() -> None:
            clock.time += 1
            if next(calls) == turn:
                raise KeyboardInterrupt

        return Variant("b", call, "a")

    clock = FakeClock()
    turns = take_turns([clock.variant("a", [1]), interrupted_at(3)], plan(rounds=5), clock)
    assert {name: len(taken) for name, taken in turns.items()} == {"a": 2, "b": 2}
    with pytest.raises(KeyboardInterrupt):
        take_turns([clock.variant("a", [1]), interrupted_at(1)], plan(rounds=5), clock)


def test_others_are_the_machine_less_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: proc(5), /proc/stat: user nice system idle iowait irq softirq steal guest guest_nice, in ticks; guest
    is in user already."""
    line = "cpu  1000 200 300 99999 888 10 20 70 55 5\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: line)
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    monkeypatch.setattr(os, "times", lambda: (3.0, 1.0, 0.5, 0.5, 12345.0))
    assert MachineClock().others() == pytest.approx(16.0 - 5.0)


def test_the_clock_waits_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU works behind the calls that are timed: once this process uses one, it is waited for before each reading."""
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append("waited"))
    MachineClock().now()
    assert waited == []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    MachineClock().now()
    assert waited == ["waited"]


def test_contention_that_cannot_be_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc/stat every turn counts, and the table says so."""

    def missing(self: Path, encoding: str) -> str:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", missing)
    assert MachineClock().others() is None
    turns = {"a": [Turn(1.0, None)]}
    assert turns["a"][0].clean
    assert "could not be measured" in contention_words(turns)


@pytest.mark.parametrize("form", against_timm.FORMS)
@pytest.mark.parametrize("size", against_timm.SIZES)
def test_the_two_vits_are_the_same_function(size: str, form: AttentionForm) -> None:
    """timm's weights in ours give timm's logits, and no parameter is left over: like is compared with like."""
    theirs = against_timm.timm_vit(against_timm.SIZES[size], form).eval()
    ours = against_timm.our_vit(against_timm.SIZES[size], form).eval()
    names = {"patch_embed.proj": "embed", "attn.qkv": "attention.qkv", "attn.proj": "attention.out"}
    names |= {"mlp.fc1": "mlp.up", "mlp.fc2": "mlp.down", "pos_embed": "position.table"}
    weights = theirs.state_dict()
    for old, new in names.items():
        weights = {name.replace(old, new): tensor for name, tensor in weights.items()}
    weights["position.table"] = weights["position.table"][0]
    ours.load_state_dict(weights)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)
    assert [block.attn.fused_attn for block in theirs.blocks] == [form == "fused"] * len(theirs.blocks)
    assert [block.attention.fused for block in ours.blocks] == [form == "fused"] * len(ours.blocks)


def ticking() -> Callable[[], float]:
    ticks = itertools.count(1)
    return lambda: float(next(ticks))


def test_every_encoding_is_in_its_table() -> None:
    """Reference: the registry's names, and what each network says of itself."""
    clock = FakeClock()
    clock.now = ticking()  # type: ignore[method-assign]
    table = encodings.measure(plan(rounds=1, most=1), 1, "cpu", clock, lambda text: None)
    assert {row[0].strip("`") for row in table.rows} == set(models.position_names())
    assert {row[4] for row in table.rows} == {"1.000 (1.000 to 1.000)"}  # on this clock every call takes as long
    described = encodings.nano_vit("cpb", "cpu").describe(32, 32)
    row = next(row for row in table.rows if row[0] == "`cpb`")
    assert row[1:3] == [f"{described.parameters['position']:,}", f"{described.macs / 1e6:.2f}"]


def test_draws_are_measured_block_by_block() -> None:
    """Reference: the stream's own indices; on this clock every block takes a second, whatever its steps are."""
    clock = FakeClock()
    clock.now = ticking()  # type: ignore[method-assign]
    table = draws.measure(plan(rounds=1, most=1), 128, "cpu", clock, lambda text: None)
    assert table.rows[2][:4] == ["`strong`", "128", "32", f"{1e6 / 32:.0f}; goal 100"]
    assert table.rows[3][:4] == ["`strong`", "1,024", "5", f"{1e6 / 5:.0f}; goal 400"]
    images = Selected(np.zeros((1, 3, 32, 32), dtype=np.uint8), np.zeros(draws.TRAIN, dtype=np.int64))
    stream = draws.stream("strong", 16, images)
    for first, (indices, _) in zip((0, 32, 64), draws.blocks(stream), strict=False):
        assert indices.tolist() == stream.indices(first, 32).tolist()


def test_a_block_of_a_document_is_replaced(tmp_path: Path) -> None:
    """What stands outside the markers stays, byte for byte; a document without them is refused."""
    document = tmp_path / "performance.md"
    document.write_text("before\n<!-- speed:models -->\nold\n<!-- /speed:models -->\nafter\n")
    write_block(document, "models", "new")
    assert document.read_text() == "before\n<!-- speed:models -->\nnew\n<!-- /speed:models -->\nafter\n"
    with pytest.raises(InductiveError, match=r"performance\.md: needs the lines <!-- speed:encodings -->"):
        write_block(document, "encodings", "new")
    with pytest.raises(InductiveError, match="cannot be read"):
        write_block(tmp_path / "none.md", "models", "new")
    document.write_text("<!-- /speed:models -->\n<!-- speed:models -->\n")
    with pytest.raises(InductiveError, match="in this order"):
        write_block(document, "models", "new")


def test_tables_of_a_gpu_in_a_document(tmp_path: Path) -> None:
    """Added before the end of the place for GPUs, replaced when measured again, apart from other cards and tables."""
    document = tmp_path / "performance.md"
    document.write_text("# Speed\n<!-- /gpus -->\nend\n")
    write_card_block(document, "NVIDIA H100 80GB HBM3", "models", "old")
    write_card_block(document, "NVIDIA H200", "models", "other card")
    write_card_block(document, "NVIDIA H100 80GB HBM3", "sweep", "other table")
    write_card_block(document, "NVIDIA H100 80GB HBM3", "models", "new")
    text = document.read_text()
    assert text.startswith(
        "# Speed\n<!-- speed:models on NVIDIA H100 80GB HBM3 -->\n### NVIDIA H100 80GB HBM3: models\n\nnew\n"
        "<!-- /speed:models on NVIDIA H100 80GB HBM3 -->\n"
    )
    assert text.endswith("<!-- /gpus -->\nend\n")
    assert "old" not in text and text.index("other card") < text.index("other table")
    document.write_text("no place")
    with pytest.raises(InductiveError, match="needs the line <!-- /gpus -->"):
        write_card_block(document, "NVIDIA H200", "models", "new")


def test_a_table_is_markdown() -> None:
    """Three lines with as many cells; the machine and the contention beside them."""
    table = Table("tiny", "What.", ["a", "b"], [["1", "2"]], {"x": [Turn(1.0, 0.0)]})
    machine = {"date": "2026-01-02", "cores": 2, "cpu": "Abacus", "capability": "AVX2", "memory_gib": 4, "threads": 1}
    machine |= {"python": "3.11", "torch": "2", "torchvision": "0", "timm": "1"}
    text = table.markdown(machine)
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |\n" in text
    assert "2026-01-02 on 2 cores of Abacus (AVX2), 4 GiB" in text
    assert "on NVIDIA H200 beside 2 cores of Abacus" in table.markdown({**machine, "gpu": "NVIDIA H200"})
    assert "1 of 1 turns were clean" in text


def test_the_command_measures_a_tiny_table(start: Callable[..., Started], tmp_path: Path) -> None:
    """`--quick`: the table on the output, progress beside it, every turn and the machine in the JSON."""
    done = start("-m", "benchmarks.speed", "models", "--quick", "--json", "kept/speed.json").wait()
    assert done.returncode == 0, done.stderr
    assert "| 192x6, patch 4 | explicit |" in done.stdout
    assert "models: round 1" in done.stderr
    kept = json.loads((tmp_path / "kept" / "speed.json").read_text())
    assert kept["machine"]["threads"] == 1
    assert [table["name"] for table in kept["tables"]] == ["models"]
    assert set(kept["tables"][0]["turns"]) == {
        f"{size} {form} {whose}"
        for size in ("192x6", "64x2")
        for form in ("explicit", "fused")
        for whose in ("timm", "ours")
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model"], "'models', 'encodings'"),
        (["--quick", "--write", "x.md"], "--quick"),
        (["planning", "--device", "cuda"], "no network computes in planning"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(arguments: list[str], words: str) -> None:
    """Exit code 2, what is allowed, and nothing measured."""
    refused = CliRunner().invoke(bench, arguments)
    assert (refused.exit_code, words in refused.output) == (2, True), refused.output
