"""Pages in the system's Chromium, as a reader sees them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Containers lack the rights for the sandbox; the other options keep the browser from making requests of its own.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
]  # fmt: skip

# All visible elements with text of their own, with the contrast of text and background (WCAG 2.2) and the luminance of
# both.
CONTRASTS = """
() => {
  const channels = colour => {
    const [r, g, b, alpha = 1] = colour.match(/[\\d.]+/g).map(Number);
    return { rgb: [r, g, b], alpha };
  };
  const luminance = rgb => rgb
    .map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const { rgb, alpha } = channels(getComputedStyle(each).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  return [...document.body.querySelectorAll("*")]
    .filter(element => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
    .filter(element => [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()))
    .filter(element => element.tagName !== "SCRIPT")
    .map(element => {
      const text = luminance(channels(getComputedStyle(element).color).rgb), paper = luminance(behind(element));
      return {
        what: `${element.tagName} ${element.textContent.trim().slice(0, 40)}`, text, paper,
        ratio: (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05),
      };
    });
}
"""


@contextmanager
def launched() -> Iterator[Browser]:
    """Yield the system's Chromium, or skip the tests that need it."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium found to look at pages with; get one by: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page in the browser, with what it has complained of and the addresses that it has requested."""

    page: Page
    complaints: list[str] = field(default_factory=list)  # errors and warnings on the console, exceptions and dialogs
    requests: list[str] = field(default_factory=list)


def open_page(browser: Browser, path: Path, width: int, height: int, scheme: str, **options: Any) -> Opened:
    """Open a file without a network, in a window of this size in CSS pixels, by a "light" or "dark" scheme."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, **options)
    opened = Opened(page)

    def answer(dialog) -> None:
        opened.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def listen(message) -> None:
        if message.type in ("error", "warning"):
            opened.complaints.append(f"{message.type}: {message.text}")

    page.on("console", listen)
    page.on("pageerror", lambda error: opened.complaints.append(f"exception: {error}"))
    page.on("dialog", answer)
    page.on("request", lambda request: opened.requests.append(request.url))
    page.goto(path.resolve().as_uri())
    return opened


def load(picture: Locator) -> float:
    """Bring an image into sight, wait until it is loaded, and return its width divided by its height."""
    picture.scroll_into_view_if_needed()
    return picture.evaluate("async image => { await image.decode(); return image.naturalWidth / image.naturalHeight }")


def contrasts(page: Page) -> list[dict[str, Any]]:
    """Return `what`, luminance of `text` and `paper`, and their contrast `ratio`, for all visible texts."""
    return page.evaluate(CONTRASTS)


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
