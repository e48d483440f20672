"""Draws docs/report.png: the HTML report of the comparison in docs/make_picture.py, as Chromium shows it.

python docs/make_report.py  (needs playwright and a Chromium)
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))
from docs.make_picture import compared
from tests.browser import FLAGS, chromium_path


def main() -> None:
    """Compares, writes the page and takes its picture."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = Path(folder) / "report.html"
        compared(details=True).to_html(path)
        browser = driver.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1240, "height": 720}, color_scheme="light")
        page.goto(path.as_uri())
        page.locator(".row").first.wait_for()
        page.screenshot(path=Path(__file__).parent / "report.png")
        browser.close()


if __name__ == "__main__":
    main()
