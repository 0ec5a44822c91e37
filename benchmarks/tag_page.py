"""The page of `tagscale serve`, as a browser shows it: docs/images/page.png, and pictures to look at.

    python benchmarks/tag_page.py PROJECT [--beside msd-musicnn] [--width 400] [--output FILE]

PROJECT is a folder with a registry and `data`, as `make run` leaves it. A track of its dataset is heard by the champion
and another version, and a part of the page is taken; at another width than 1200 the whole page. What to look for: no
text is cut or too pale, and nothing overlaps.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from servers.processes import free_port
from serving.chromium import browser
from serving.served import started

WIDTH, HEIGHT = 1200, 1560  # of the README's picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--beside", default="challenger")
    parser.add_argument("--track", default="track_00004")
    parser.add_argument("--tag", default="string_ensemble", help="that is chosen")
    parser.add_argument("--time", default="14", help="of the player, in seconds")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--output", type=Path, default=Path("docs/images/page.png"))
    arguments = parser.parse_args()
    view = {"model": "champion"} | {name: getattr(arguments, name) for name in ("beside", "track", "tag", "time")}
    with tempfile.TemporaryDirectory() as folder:
        words = ["--beside", arguments.beside, "--data", "data", "--corrections", f"{folder}/corrections.csv"]
        port = free_port()
        server = started(arguments.project, port, *words)
        try:
            with browser(Path(folder) / "browser") as page:
                page.resize(arguments.width, HEIGHT)
                page.go(f"http://127.0.0.1:{port}/#{urlencode(view)}")
                page.wait("!view.hidden && audio.currentTime > 0 && !problem.textContent")
                page.value("document.activeElement.blur()")
                page.picture(arguments.output, HEIGHT if arguments.width == WIDTH else None)
                Image.open(arguments.output).quantize().save(arguments.output, optimize=True)  # a third of the bytes
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    main()
