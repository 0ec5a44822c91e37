"""Writes docs/conformance.md: which fault is caught by what, and whose source says that it is one.

python tests/conformance/table.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conformance.kit import elsewhere, planted, topics  # noqa: E402 (the path first)

PAGE = ROOT / "docs" / "conformance.md"


def page() -> str:
    """The text of the page."""
    files = {rule: Path(topic.__file__).name for topic in topics() for rule in topic.RULES}
    rows = [(one.fault, one.rule.upstream, f"{files[one.rule]}: {one.rule.name}") for one in planted()]
    rows += [(one.fault, one.upstream, f"`{one.test}`") for one in elsewhere()]
    return "\n".join(
        [
            "# What upstream's sources say",
            "",
            "tagscale has run on no cluster here. So the rules of `tests/conformance/rules/` are written after the",
            "sources of the software around it, each in the version that it names. Each fault below is planted in a",
            "copy of the manifests, pipelines or docs, or by a test of the code, and must be caught.",
            "Written by `python tests/conformance/table.py`.",
            "",
            "| fault | upstream | caught by |",
            "| --- | --- | --- |",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
