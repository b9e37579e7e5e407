"""Debian's chromium, driven by selenium: `make test-browser` installs both, elsewhere the tests are skipped."""

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

WANTED = "INDUCTIVE_TEST_BROWSER"
PROGRAMS = ("chromium", "chromedriver")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Says why these tests are not run, where they are not; asked for, they run or fail."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    lacking += [] if find_spec("selenium") else ["selenium"]
    if here and lacking:
        said = f"a browser needs {', '.join(lacking)}: `make test-browser`"
        if os.environ.get(WANTED):
            raise pytest.UsageError(said)
        for item in here:
            item.add_marker(pytest.mark.skip(reason=said))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless browser that writes down its console and every request."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))  # named, so that nothing is downloaded
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any) -> Callable[..., Any]:
    """Opens a page at a width in pixels, with its console and its requests empty."""

    def open_(page: Path, width: int = 1280, height: int = 900, dark: bool = False, script: bool = True) -> Any:
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        browser.get(page.resolve().as_uri())
        return browser

    return open_
