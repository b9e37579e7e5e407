"""The screenshots of docs/, as page.png and page-phone.png: `python tests/analysis/browser/screenshots.py PAGE DIR`."""

import base64
import shutil
import sys
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

SHOTS = {"page": (1280, 1500, 0.75), "page-phone": (390, 1500, 0.75)}  # width, height, scale of the file


def shoot(page: Path, folder: Path) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    with webdriver.Chrome(options, Service(shutil.which("chromedriver"))) as browser:
        for name, (width, height, scale) in SHOTS.items():
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            browser.get(page.resolve().as_uri())
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
            shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})
            (folder / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    shoot(Path(sys.argv[1]), Path(sys.argv[2]))
