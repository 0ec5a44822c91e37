"""`make fuzz`: thousands of cases of bad input and of kills, each of which must end well or with a true message.

python -m fuzz                          all of them; half an hour and more on two cores
python -m fuzz --kinds audio,own        of these alone
python -m fuzz --share 0.05             a twentieth of each kind
python -m fuzz --only audio:1234        one case, in this process, with what it says; its folder is kept
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # processes are forked, so none may have threads
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "GX_ANALYTICS_ENABLED": "false", "COLUMNS": "200"}
os.environ.pop("MLFLOW_TRACKING_URI", None)

from fuzz import PARTS  # noqa: E402
from fuzz.harness import attempt, run, share_of  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kinds", default=",".join(PARTS), help="parts or beginnings of kinds, with commas")
    parser.add_argument("--share", type=float, default=1.0, help="share of the cases")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", help="KIND:NUMBER of one case")
    parser.add_argument("--folder", type=Path, help="where the cases run; a temporary folder when not given")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="fuzz-"))
    begin = time.monotonic()
    wanted = options.only.rpartition(":")[0] if options.only else None
    names = [wanted] if wanted else options.kinds.split(",")
    kinds = []
    for part, make in PARTS.items():
        if any(name.startswith(part) or part.startswith(name) for name in names):
            kinds += [kind for kind in make(folder / part) if any(kind.name.startswith(name) for name in names)]
    if not kinds:
        parser.error(f"no kind is named {', '.join(names)}; there are {', '.join(PARTS)}")
    if wanted:
        place = folder / "only"
        place.mkdir(parents=True)
        verdict = attempt(kinds[0], int(options.only.rpartition(":")[2]), place)
        print(f"{options.only}: {verdict.outcome}: {verdict.detail}\nits folder: {place}")
        return 0
    report = run(share_of(kinds, options.share), folder, options.workers)
    print(f"\n{report.table()}\n{time.monotonic() - begin:.0f} s")
    if report.bad:
        print(f"{len(report.bad)} cases ended badly. Run one again with `python -m fuzz --only {report.bad[0][0]}`.")
    return 1 if report.bad else 0


if __name__ == "__main__":
    sys.exit(main())
