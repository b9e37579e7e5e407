"""The screenshots of docs/: `python tests/analysis/browser/screenshots.py PAGE DIR`.

page.png and page-phone.png are the first screens; page-whole.png and page-phone-whole.png the pages from top to bottom
as they open, in columns of a few screens each.
"""

import base64
import io
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

SHOTS = {"page": (1280, 800, 0.75), "page-phone": (390, 844, 0.75)}  # width, height, scale of the file
WHOLE = 0.45  # scale of whole pages
COLUMN = 4  # screens below each other in a picture of a whole page


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
            taken(browser, width, 0, height, scale).save(folder / f"{name}.png", optimize=True)
            whole = int(browser.execute_script("return document.documentElement.scrollHeight"))
            column = COLUMN * height
            parts = [taken(browser, width, top, min(column, whole - top), WHOLE) for top in range(0, whole, column)]
            gap = 12
            wide = sum(part.width + gap for part in parts) - gap
            sheet = Image.new("RGB", (wide, math.ceil(column * WHOLE)), "#d9dade")
            for place, part in enumerate(parts):
                sheet.paste(part, (place * (parts[0].width + gap), 0))
            sheet.save(folder / f"{name}-whole.png", optimize=True)


def taken(browser: Any, width: int, top: int, height: int, scale: float) -> Image.Image:
    """A part of the page, wherever it is scrolled to."""
    clip = {"x": 0, "y": top, "width": width, "height": height, "scale": scale}
    options = {"format": "png", "clip": clip, "captureBeyondViewport": True}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", options)
    return Image.open(io.BytesIO(base64.b64decode(shot["data"])))


if __name__ == "__main__":
    shoot(Path(sys.argv[1]), Path(sys.argv[2]))
