"""``make pictures``: run the demo's pipeline and photograph the page in Airflow's UI for README."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from demo.__main__ import run_address, run_pipeline
from demo.processes import DemoError
from demo.stack import REPOSITORY, Stack

PICTURES = REPOSITORY / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1280  # pixels
CASE = "leaking-drum"  # critical, and the early checkpoints fail it


def find_browser() -> str | None:
    """Return where Chromium is."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def main() -> int:
    """Take the pictures and return the exit status."""
    path = find_browser()
    if path is None:
        print("pictures: no Chromium on the PATH; on Debian: apt-get install chromium", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory() as folder, Stack(Path(folder) / "home", speed=3) as stack:
            summary = run_pipeline(stack, Console())
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
                _photograph(
                    browser.new_page(viewport={"width": WIDTH, "height": 1080}), stack, run_address(stack, summary)
                )
                browser.close()
    except DemoError as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 1
    return 0


def _photograph(page: Page, stack: Stack, address: str) -> None:
    page.goto(f"{stack.airflow_url}/auth/login")
    page.fill("input[name=username]", stack.user)
    page.fill("input[name=password]", stack.password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/auth/login" not in url)
    page.goto(address)
    frame = page.frame_locator("iframe")
    frame.locator(".chart svg").wait_for()
    frame.locator(".matrix").wait_for()
    page.screenshot(path=PICTURES / "run.png")
    frame.get_by_role("button", name=CASE).click()
    frame.get_by_role("dialog").locator("article").last.wait_for()
    page.screenshot(path=PICTURES / "answers.png")


if __name__ == "__main__":
    sys.exit(main())
