"""The report on paper: an installed Chromium prints the page."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")  # programs, in order
SECONDS = 120  # a page with a dozen models takes five


def present(page: Path) -> Path:
    """The page, which is there. Raises TagscaleError where it is not."""
    if not page.is_file():
        raise TagscaleError(f"{page}: no such file. `tagscale compare` (or `dvc repro compare`) writes it.")
    return page


def print_page(page: Path, pdf: Path) -> None:
    """Print a page of HTML; what is folded on the screen is open on paper.

    Raises:
        TagscaleError: there is no page; no Chromium is installed; it prints nothing.
    """
    present(page)
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise TagscaleError(
            f"No Chromium prints {page}: found none of {', '.join(BROWSERS)}. Install the package `chromium` "
            "(Debian: `apt-get install chromium`), or open the page in any browser and print it there."
        )
    with replacing(pdf) as fresh, tempfile.TemporaryDirectory(prefix="tagscale-print-") as profile:
        words = [browser, "--headless", "--disable-gpu", f"--user-data-dir={profile}", "--no-pdf-header-footer"]
        if os.geteuid() == 0:
            words.append("--no-sandbox")  # Chromium's sandbox refuses root, as in a container
        try:
            done = subprocess.run(
                [*words, f"--print-to-pdf={fresh.resolve()}", page.resolve().as_uri()],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise TagscaleError(f"{browser} did not print {page} within {SECONDS} s. Print it in a browser.") from None
        if done.returncode or not fresh.is_file() or not fresh.stat().st_size:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise TagscaleError(f"{browser} did not print {page} (status {done.returncode}). It says: {said}")
