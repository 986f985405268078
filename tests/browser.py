"""Pages of the book in a real browser: what the tests that read, type and drag have in common."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from course.export import quantize
from tinyllm.model import GPT

ROOT = Path(__file__).parents[1]
PATIENCE = 180_000  # milliseconds: a busy machine is slow, but not wrong

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def render(source: Path, out: Path) -> Path:
    """Build the book in `source` from nothing; returns the folder of its pages."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--path-output", out]
    done = subprocess.run([*command, "-W", "-n", "--keep-going", "-q"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "_build/html"


@contextmanager
def reading(browser: Browser, **settings) -> Iterator[Page]:
    """A page that fails, once it has been read, on anything in its console and on a request beyond the disk."""
    context = browser.new_context(**settings)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    complaints = []
    page.on("console", lambda said: complaints.append((page.url, said.text)) if said.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append((page.url, str(error))))
    page.on("request", lambda sent: complaints.append(sent.url) if sent.url[:4] == "http" else None)
    yield page
    context.close()
    assert complaints == [], complaints


def violations(page: Page, **options) -> list[tuple]:
    """What axe finds in the page."""
    # Preloading would fetch the style sheets, which a browser forbids for file:.
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False, **options}).response
    return [
        (page.url, violation["id"], violation["nodes"][0]["html"])
        for violation in found["violations"]
    ]


def unfit(page: Page) -> list[tuple]:
    """What keeps somebody from reading an open page: in light, in dark, and on a phone."""
    page.emulate_media(color_scheme="light")
    page.locator("html[data-theme=light]").wait_for()
    found = violations(page)
    page.emulate_media(color_scheme="dark")
    page.locator("html[data-theme=dark]").wait_for()
    found += violations(page, runOnly=["color-contrast"])
    desktop = page.viewport_size
    page.set_viewport_size({"width": 375, "height": 800})
    if (width := page.evaluate("document.documentElement.scrollWidth")) > 375:
        found.append((page.url, f"{width} pixels wide on a phone of 375"))
    page.set_viewport_size(desktop)
    return found


def reached_by_everybody(page: Page, label: str, n: int) -> list[str]:
    """What the tab key reaches in n steps from a field, on a phone. By day and by night nothing is at fault, and nothing sideways."""
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.locator(f"html[data-theme={scheme}]").wait_for()
        found += violations(page)
    page.set_viewport_size({"width": 375, "height": 800})
    assert found == [] and page.evaluate("document.documentElement.scrollWidth") == 375
    page.get_by_label(label).focus()
    reached = []
    for _ in range(n):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(({ ariaLabel, textContent }) => ariaLabel ?? textContent)(document.activeElement)"))
    return reached


def rgb(color: str) -> str:
    return f"rgb{tuple(bytes.fromhex(color.removeprefix('#')))}"


def open_widget(page: Page, book: Path, name: str, fragment: str = "") -> None:
    """Open a widget's page of the fixture `live_book` with a state in its address."""
    page.goto("about:blank")  # or a new fragment would be followed in the page that is open
    page.goto(f"{(book / 'chapters' / name).as_uri()}.html#{name}?{fragment}")
    page.locator(".live-mounted").wait_for()


def follow(page: Page, fragment: str) -> None:
    """Go to another fragment in the page that is open, as a link in it would."""
    page.evaluate(
        "to => new Promise(done => { addEventListener('hashchange', () => setTimeout(done), { once: true });"
        " location.hash = to; })",
        fragment,
    )


def quantized(model: GPT) -> GPT:
    """The model that the page gets, in torch."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                steps, scales = map(torch.from_numpy, quantize(p.numpy()))
                p.copy_(steps * scales[:, None])
    return model
