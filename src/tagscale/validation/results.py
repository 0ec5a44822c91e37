"""The results of checks, whoever runs them, and the consequences that a failed check may have."""

from dataclasses import dataclass

STOP, QUARANTINE, DROP, MENTION = "stop", "quarantine", "drop", "mention"
SHOWN = 5


@dataclass(frozen=True)
class Result:
    """The result of one check: `observed` in short, and the keys (track ids or tags) of the rows that failed."""

    table: str
    column: str
    expectation: str
    says: str
    consequence: str
    success: bool
    observed: str
    failing: list[str]


def stops(results: list[Result]) -> list[str]:
    """Sentences on the failed checks that stop the pipeline."""
    return [_sentence(result) for result in results if result.consequence == STOP and not result.success]


def _sentence(result: Result) -> str:
    named = f" (first: {', '.join(result.failing[:SHOWN])})" if result.failing else ""
    return f"{result.table}: expected that {result.says}, found: {result.observed}{named}"
