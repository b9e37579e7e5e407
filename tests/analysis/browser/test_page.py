"""The page in a browser, with real clicks and keys: quiet, alone, and it sorts and copies. Reference: the browser."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.report import write_report
from benchmarks.plan.study import load_study


@pytest.fixture(scope="module")
def page(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small study, one run missing, with a name that is markup."""
    folder = tmp_path_factory.mktemp("page")
    paper = {"labels": {"resnet": "<script>document.title='broken'</script>"}}
    study = made_up.study_of(made_up.SMALL, paper=paper, comparisons=[{"name": "all"}])
    made_up.write_study(folder / "runs", study, skip=[study.runs[0].id])
    return write_report(study, folder / "runs", folder / "out").page


@pytest.fixture(scope="module")
def quickstart(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the shipped study `quickstart`, of made-up records."""
    folder = tmp_path_factory.mktemp("quickstart")
    study = load_study("quickstart")
    made_up.write_study(folder / "runs", study)
    for run in study.runs:
        losses = [{"step": step, "loss": 2.3 / step} for step in (1, 10, run.steps)]
        (folder / "runs" / run.id / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in losses))
    return write_report(study, folder / "runs", folder / "out").page


SIZE = """
const figure = document.querySelector("figure"), words = (text) => text.split(/\\s+/).filter(Boolean).length;
const before = document.createRange();
before.setStart(document.body, 0);
before.setEndBefore(figure);
const box = [...figure.querySelectorAll("svg")].map((one) => one.getBoundingClientRect()).find((one) => one.height);
return { height: document.documentElement.scrollHeight, words: words(document.body.innerText),
  before: words(before.toString()), top: box.top, bottom: box.bottom };
"""


def test_the_quickstart_answers_at_first_sight(opened: Callable[..., Any], quickstart: Path) -> None:
    """Its first figure is whole on the first screen, behind fewer than 150 words; all that is not folded is at most
    eight screens of a laptop and 2,500 words."""
    browser = opened(quickstart, 1280, 800)
    found = browser.execute_script(SIZE)
    assert found["height"] <= 8 * 800
    assert found["words"] < 2500
    assert found["before"] < 150
    assert 0 < found["top"] < found["bottom"] <= 800
    on_a_phone = opened(quickstart, 390, 844).execute_script(SIZE)
    assert 0 < on_a_phone["top"] < on_a_phone["bottom"] <= 844


def test_a_link_opens_what_it_leads_into(opened: Callable[..., Any], page: Path) -> None:
    """Cells lead to their runs, which are folded."""
    browser = opened(page)
    fold = browser.find_element("css selector", "#runs details")
    assert fold.get_attribute("open") is None
    browser.find_element("css selector", "#train-size td a").click()
    assert fold.get_attribute("open") is not None
    place = browser.current_url.partition("#")[2]
    top = browser.execute_script("return document.getElementById(arguments[0]).getBoundingClientRect().top", place)
    assert 0 <= top <= 900


UNFOLD = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"


def requests(browser: Any) -> list[str]:
    """What the browser has asked for since it was last looked at."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def column(browser: Any, table: Any, place: int) -> list[str]:
    """The texts of a column of a table, top to bottom, first lines alone."""
    cells = table.find_elements("css selector", f"tbody tr > :nth-child({place})")
    return [cell.text.splitlines()[0].strip("▽† ") for cell in cells]


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_quiet_and_alone(opened: Callable[..., Any], page: Path, width: int, dark: bool) -> None:
    """No console message, no request but for the page, no text that runs out of a phone's screen."""
    browser = opened(page, width, dark=dark)
    assert browser.get_log("browser") == []
    assert [url for url in requests(browser) if not url.startswith("data:")] == [page.resolve().as_uri()]
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width  # not innerWidth: on a phone it grows with what is too wide
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == dark


def test_names_are_shown_as_text(opened: Callable[..., Any], page: Path) -> None:
    browser = opened(page)
    assert browser.title == "made-up · Inductive"
    assert "<script>document.title='broken'</script>" in browser.find_element("tag name", "main").text


def test_contents_lead_to_the_sections(opened: Callable[..., Any], page: Path) -> None:
    browser = opened(page)
    links = browser.find_elements("css selector", "nav a")
    assert len(links) >= 8
    for link in links:
        link.click()
        place = browser.current_url.partition("#")[2]
        top = browser.execute_script("return document.getElementById(arguments[0]).getBoundingClientRect().top", place)
        end = browser.execute_script("return scrollY + innerHeight >= document.documentElement.scrollHeight - 2")
        assert -2 <= top <= 40 or end
    assert {link.get_attribute("href").partition("#")[2] for link in links} == {
        section.get_attribute("id") for section in browser.find_elements("css selector", "main section[id]")
    } - {"answers"}


def test_a_table_is_sorted_by_click_and_by_key(opened: Callable[..., Any], page: Path) -> None:
    """Reference: Python's order of the numbers; and the first order again by the third press."""
    browser = opened(page)
    table = browser.find_element("css selector", "#train-size table")
    before = column(browser, table, 2)
    numbers = [float(text) for text in before]
    assert numbers not in (sorted(numbers), sorted(numbers, reverse=True))  # or nothing would be seen
    head = table.find_elements("css selector", "thead th")[1]
    button = head.find_element("tag name", "button")
    button.click()
    assert [float(text) for text in column(browser, table, 2)] == sorted(numbers, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    button.send_keys("\ue007")  # enter
    assert [float(text) for text in column(browser, table, 2)] == sorted(numbers)
    button.send_keys(" ")
    assert column(browser, table, 2) == before
    assert head.get_attribute("aria-sort") is None
    assert browser.get_log("browser") == []


def test_bounds_are_sorted_by_their_number_and_what_is_absent_stays_last(
    opened: Callable[..., Any], page: Path, tmp_path: Path
) -> None:
    """Reference: by hand, in a table of the page's own form."""
    texts = ["≥ 3.1×", "–", "12.0×", "≤ 0.5×", "", "1.2×", "−2.0"]
    rows = "".join(f'<tr><th scope="row">{at}</th><td>{text}</td></tr>' for at, text in enumerate(texts))
    head = '<thead><tr><th scope="col">model</th><th scope="col">factor</th></tr></thead>'
    basis = '<tr class="basis"><th scope="row">units</th><td>99</td></tr>'
    table = f'<table id="made">{head}<tbody>{rows}{basis}</tbody></table></main>'
    other = tmp_path / "other.html"
    other.write_text(page.read_text(encoding="utf-8").replace("</main>", table), encoding="utf-8")
    browser = opened(other)
    names = "return [...document.querySelectorAll('#made tbody tr')].map((row) => row.cells[0].textContent)"
    button = browser.find_element("css selector", "#made thead th:nth-child(2) button")
    for expected in ("2 0 5 3 6 1 4 units", "6 3 5 0 2 1 4 units", "0 1 2 3 4 5 6 units"):
        button.click()
        assert browser.execute_script(names) == expected.split()


def test_what_a_table_rests_on_stays_below_when_it_is_sorted(opened: Callable[..., Any], page: Path) -> None:
    """Reference: the rows of the page without script, of which the last three are n, residual and critical value."""
    browser = opened(page)
    browser.execute_script(UNFOLD)
    table = browser.find_element("css selector", "#comparisons table")
    before = column(browser, table, 1)
    assert before[-3:] == ["units", "residual, points", "critical value of |t|"]
    for place in (1, 2):
        button = table.find_elements("css selector", "thead button")[place - 1]
        seen = []
        for _ in range(3):
            button.click()
            seen.append(column(browser, table, 1))
            assert seen[-1][-3:] == before[-3:]
            assert sorted(seen[-1]) == sorted(before)
        assert seen[0] == seen[1][-4::-1] + before[-3:] != seen[1]
        assert seen[2] == before


SPANS = """
const box = (node) => { const range = document.createRange(); range.selectNodeContents(node);
  const boxes = [...range.getClientRects()];
  return [Math.min(...boxes.map((b) => b.left)), Math.max(...boxes.map((b) => b.right))]; };
return [...document.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth).map((one) => {
  one.scrollLeft = one.scrollWidth;
  const table = one.querySelector("table"), caption = table.caption;
  const names = [...table.querySelectorAll("thead th:first-child, tbody th")].map((name) => {
    name.scrollIntoView({ block: "center", inline: "nearest" });
    one.scrollLeft = one.scrollWidth;
    const { left, right, top, bottom } = name.getBoundingClientRect();
    const above = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    return [left, right, name.contains(above)];
  });
  return { scrolled: one.scrollLeft, behind: table.classList.contains("behind"), caption: box(caption), names };
});
"""


@pytest.mark.parametrize("dark", [False, True])
def test_captions_and_names_stay_when_a_wide_table_is_scrolled(
    opened: Callable[..., Any], page: Path, dark: bool
) -> None:
    """On a phone, scrolled to the right end; names lie above the numbers that go under them."""
    browser = opened(page, 390, dark=dark)
    wide = [
        one
        for one in browser.execute_script(
            "document.querySelectorAll('details').forEach((d) => { d.open = true; });" + SPANS
        )
    ]
    assert sum(not one["behind"] for one in wide) >= 3
    for one in wide:
        assert one["scrolled"] > 0
        assert 0 <= one["caption"][0] < one["caption"][1] <= 390
        if not one["behind"]:
            for left, right, on_top in one["names"]:
                assert 0 <= left < right <= 195
                assert on_top
    style = "return getComputedStyle(document.querySelector('#train-size tbody th')).backgroundColor"
    assert browser.execute_script(style) == browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor"
    )


SEEN = """
return [...document.querySelectorAll("figure")].map((figure) => [...figure.querySelectorAll("svg")]
  .map((svg) => svg.getBoundingClientRect()).filter((box) => box.width > 0).map((box) => [box.left, box.right]));
"""


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_figures_lie_within_the_screen(opened: Callable[..., Any], page: Path, width: int) -> None:
    """Each is seen once, as drawn for a screen so wide, and whole: nothing of it is to be scrolled to."""
    browser = opened(page, width)
    figures = browser.execute_script(SEEN)
    assert len(figures) >= 3
    for seen in figures:
        assert len(seen) == 1
        [[left, right]] = seen
        assert 0 <= left < right <= width
    sides = "return [...document.querySelectorAll('figure div')].map((one) => one.scrollWidth - one.clientWidth)"
    assert set(browser.execute_script(sides)) == {0}


def test_runs_leave_room_for_their_numbers_on_a_phone(opened: Callable[..., Any], page: Path) -> None:
    """The command is wrapped, and the button that copies it is seen without scrolling."""
    browser = opened(page, 390)
    names = browser.find_elements("css selector", ".behind tbody th")
    assert max(name.size["width"] for name in names) <= 0.6 * 390 + 1
    rights = "return [...document.querySelectorAll('.behind .copy')].map((one) => one.getBoundingClientRect().right)"
    assert max(browser.execute_script(rights)) <= 390


def test_printed_figures_are_the_wide_ones(opened: Callable[..., Any], page: Path) -> None:
    browser = opened(page, 390)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    display = "return [...document.querySelectorAll(arguments[0])].map((one) => getComputedStyle(one).display)"
    assert set(browser.execute_script(display, "figure .wide")) == {"block"}
    assert set(browser.execute_script(display, "figure .narrow")) == {"none"}


def test_wide_tables_use_the_window(opened: Callable[..., Any], page: Path) -> None:
    """All columns of the ledger are seen on a usual screen, and other tables begin where the text does."""
    browser = opened(page, 1280)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    boxes = (
        "return [...document.querySelectorAll(arguments[0])].map((one) => one.getBoundingClientRect())"
        ".map((box) => [box.left, box.right])"
    )
    [[left, right]] = browser.execute_script(boxes, "#ledger table.ledger")
    [[start, end]] = browser.execute_script(boxes, "#ledger")
    assert right - left > end - start
    assert 0 <= left < right <= 1280
    assert abs((left + right) - (start + end)) <= 2
    narrow = browser.execute_script(boxes, "#train-size table, #positions table")
    assert {round(one) for one, _ in narrow} == {round(start)}


def test_headings_are_printed_with_what_they_head(opened: Callable[..., Any], page: Path) -> None:
    """Reference: the style that the browser has for headings, scope lines and tables on paper."""
    browser = opened(page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    style = "return [...document.querySelectorAll(arguments[0])].map((one) => getComputedStyle(one)[arguments[1]])"
    assert set(browser.execute_script(style, "h2, h3, h4, .arm, summary", "breakAfter")) == {"avoid"}
    assert set(browser.execute_script(style, "p, figure, .scroll", "breakInside")) == {"avoid"}


def test_printed_tables_fit_the_paper(opened: Callable[..., Any], page: Path) -> None:
    """A4 landscape within margins of 12 mm: 273 mm, at 96 pixels an inch."""
    paper = int(273 / 25.4 * 96)
    browser = opened(page, paper)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    tables = "return [...document.querySelectorAll('table')].map((one) => one.getBoundingClientRect().right)"
    rights = browser.execute_script(tables)
    assert rights
    assert max(rights) <= paper
    assert browser.execute_script("return document.documentElement.scrollWidth") <= paper
    sticky = "return [...document.querySelectorAll('caption, th')].map((one) => getComputedStyle(one).position)"
    assert set(browser.execute_script(sticky)) == {"static"}


def test_a_command_is_copied(opened: Callable[..., Any], page: Path) -> None:
    """Reference: what the browser pastes."""
    browser = opened(page)
    browser.execute_script(UNFOLD)
    button = browser.find_element("css selector", "#runs .copy")
    command = button.find_element("xpath", "preceding-sibling::code").text
    assert command.startswith("inductive rerun ")
    button.click()
    browser.execute_script("document.body.append(document.createElement('textarea'))")
    area = browser.find_element("tag name", "textarea")
    area.click()
    area.send_keys("\ue009" + "v")  # control-v
    assert area.get_attribute("value") == command


def test_it_is_whole_without_script(opened: Callable[..., Any], page: Path) -> None:
    """Plain tables, no button that does nothing."""
    browser = opened(page, script=False)
    assert browser.find_elements("tag name", "button") == []
    assert len(browser.find_elements("css selector", "#runs code.command")) > 10


def test_no_script_but_its_own_runs(opened: Callable[..., Any], page: Path, tmp_path: Path) -> None:
    """Markup that got into a page all the same: the content security policy holds it back."""
    other = tmp_path / "other.html"
    smuggled = "<script>document.title = 'broken'</script><img src=x onerror=\"document.title='broken'\"></main>"
    other.write_text(page.read_text(encoding="utf-8").replace("</main>", smuggled), encoding="utf-8")
    browser = opened(other)
    assert browser.title == "made-up · Inductive"
    refused = [entry["message"] for entry in browser.get_log("browser")]
    assert any("Content Security Policy" in message for message in refused)
