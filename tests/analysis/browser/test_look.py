"""A look inside in a browser: a patch is pressed, its row is shown. Reference: the browser's own pixels."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from analysis.inside.look import look
from analysis.inside.panel import Choices
from analysis.inside.subject import opened as subject_of
from benchmarks.plan.run import Run

PIXELS = """
const canvas = document.querySelectorAll(".attention-rows canvas")[arguments[0]];
const { width, height } = canvas;
return [height, width, Array.from(canvas.getContext("2d").getImageData(0, 0, width, height).data)];
"""
PRESS = """
const box = document.querySelector(".attention-rows img").getBoundingClientRect();
const clientX = box.left + arguments[1] * box.width, clientY = box.top + arguments[0] * box.height;
const press = new MouseEvent("click", { bubbles: true, clientX, clientY });
document.querySelector(".attention-rows .image").dispatchEvent(press);
"""
WORDS = "return document.querySelector('.attention-rows [aria-live]').textContent"


@pytest.fixture(scope="module")
def page(finished: tuple[Run, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with mean pooling on digits: 4 x 4 patches, patch 6 at first."""
    run, root = finished
    out = tmp_path_factory.mktemp("look")
    look("attention", [subject_of(run.id, "validation", 2, root, Path("data"))], Choices(patch=6), out)
    return out / "index.html"


def test_a_click_shows_the_row_of_a_patch(opened: Callable[..., Any], page: Path) -> None:
    """Reference: the numbers beside the figure, in matplotlib's colours, for the patch shown at first; another patch,
    by the mouse or an arrow key, and another image have other maps. No request leaves the page, its console is quiet.
    """
    browser = opened(page)
    rows = np.load(page.parent / "rows.npz")
    last = len(browser.find_elements("css selector", ".attention-rows canvas")) - 1
    assert browser.execute_script(WORDS).startswith(
        "Patch 6 of 4 × 4: row 2, column 2; row 5, counted from 0, of the 16"
    )
    height, width, pixels = browser.execute_script(PIXELS, last)
    row = rows["maps"][-1]
    colours = matplotlib.colormaps["cividis"](np.round(255 * row / row.max()).astype(int))[..., :3]
    shown = np.array(pixels).reshape(height, width, 4)[..., :3]
    assert np.abs(shown - 255 * colours).max() <= 3
    browser.execute_script(PRESS, 0.99, 0.01)
    assert "Patch 13 of 4 × 4: row 4, column 1" in browser.execute_script(WORDS)
    pressed = browser.execute_script(PIXELS, last)
    assert pressed[2] != pixels
    browser.find_element("css selector", ".attention-rows .image").send_keys("\ue014")  # arrow to the right
    assert "row 4, column 2" in browser.execute_script(WORDS)
    browser.execute_script("const s = document.querySelector('.attention-rows select'); s.selectedIndex = 1;"
                           "s.dispatchEvent(new Event('change'));")  # fmt: skip
    assert browser.execute_script(PIXELS, last)[2] != pressed[2]
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)


def test_maps_stand_beside_the_image(opened: Callable[..., Any], page: Path) -> None:
    """On a wide screen; reference: the browser's boxes."""
    left = "return document.querySelector('.attention-rows ' + arguments[0]).getBoundingClientRect()"
    image, maps = (opened(page).execute_script(left, name) for name in (".at", ".maps"))
    assert maps["left"] >= image["right"] and abs(maps["top"] - image["top"]) < 2


def test_the_page_fits_a_phone(opened: Callable[..., Any], page: Path) -> None:
    """Nothing but the tables of maps, which scroll by themselves, is wider than the screen."""
    browser = opened(page, 390, 844)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_without_a_script_the_part_to_press_is_hidden(opened: Callable[..., Any], page: Path) -> None:
    browser = opened(page, script=False)
    assert not browser.find_element("css selector", ".attention-rows").is_displayed()
