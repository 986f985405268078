"""Take the pictures that stand where the live widgets cannot run: `python -m course.pictures [WIDGETS...]`.

Reads the rendered book (`make book` first) and writes `pages/live/*.png`. A widget is taken as a reader finds
it, or in the state that its place names by `:picture: key=value&...`, in the syntax of the page's address. Of a
widget that is too much for a picture only the part is taken that it marks by `data-pictured`.
"""

import io
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
INSTALL = ".venv/bin/playwright install chromium"
MARGIN = 24  # pixels of the picture, which has two for each of the page


@contextmanager
def chromium() -> Iterator[Browser]:
    """Playwright's own Chromium or the system's; `FileNotFoundError` if there is none."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = own if Path(own).exists() else next(filter(None, map(shutil.which, BROWSERS)), None)
        if path is None:
            raise FileNotFoundError(f"no Chromium here: install it, or run `{INSTALL}`")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def take(browser: Browser, html: Path, names: list[str]) -> Iterator[Path]:
    """Write the picture of each widget in a page, or of those with the given names."""
    page = browser.new_page(
        viewport={"width": 1280, "height": 1000}, device_scale_factor=2, color_scheme="light",
        reduced_motion="reduce",
    )
    page.set_default_timeout(120_000)
    page.goto(html.as_uri())
    places = page.locator(".live[data-widget]").evaluate_all(
        "all => all.map(one =>"
        " [one.id, one.dataset.widget, one.dataset.options, one.querySelector('.live-picture img').src])"
    )
    for identifier, widget, options, source in places:
        if names and widget not in names:
            continue
        page.goto("about:blank")
        page.goto(f"{html.as_uri()}#{identifier}?{json.loads(options).get('picture', '')}")
        page.locator(f"#{identifier}.live-mounted").wait_for()
        stage = page.locator(f"#{identifier} > .live-stage")
        part = stage.locator("[data-pictured]")
        shot = (part if part.count() else stage).screenshot()
        picture = ImageOps.expand(Image.open(io.BytesIO(shot)).convert("RGB"), MARGIN, "white")
        path = ROOT / "pages/live" / Path(source).name
        picture.quantize(96, Image.Quantize.MAXCOVERAGE, kmeans=1).save(path, "png", optimize=True)
        yield path
    page.close()


def main() -> None:
    with chromium() as browser:
        for html in sorted((ROOT / "_build/html").rglob("*.html")):
            if 'data-widget="' in html.read_text(encoding="utf8"):
                for path in take(browser, html, sys.argv[1:]):
                    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
