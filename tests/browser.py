"""A page in headless Chromium, for tests of what is written as HTML.

A test file takes the fixtures by importing them: `from tests.browser import chromium, page  # noqa: F401`. They skip
where playwright or a Chromium is missing. $NETDEFS_CHROMIUM names one that is not on the path.
"""

import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


def chromium_path():
    """The machine's Chromium; None if there is none."""
    return os.environ.get("NETDEFS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def chromium():
    """The browser; each start takes about a second."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    path = chromium_path()
    if path is None:
        pytest.skip(f"no Chromium on this machine: none of {', '.join(NAMES)}, and $NETDEFS_CHROMIUM is not set")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """An empty page. Errors and warnings of its scripts, and requests for anything but a file, fail the test."""
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    opened, found = context.new_page(), []
    opened.on("pageerror", lambda error: found.append(f"error: {error}"))
    opened.on("console", lambda said: said.type in ("error", "warning") and found.append(f"console: {said.text}"))
    opened.on("request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or found.append(asked.url))
    yield opened
    context.close()
    assert not found, found
