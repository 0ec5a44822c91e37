"""What a training prints: a line for each validation, and on a terminal a bar that counts the steps before the next."""

import sys
from collections.abc import Sequence


class Display:
    """Prints the progress of one training inside a `with` block.

    Args:
        name: of the step of the training; may be empty
        shown: whether anything is printed: by one of several processes
    """

    def __init__(self, name: str, max_steps: int, shown: bool) -> None:
        self.prefix, self.shown = f"{name} " if name else "", shown
        self.max_steps, self.width = max_steps, len(str(max_steps))
        self.bar = None
        if shown and sys.stdout.isatty():
            from tagscale.runtime.progress import progress_bar  # rich, which only a terminal needs

            self.bar = progress_bar("steps", transient=True)
            self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> "Display":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def start(self, validated: int, until: int, done: int) -> None:
        """Count the steps between two validations, of which some were done before an interruption."""
        if self.bar:
            description = f"{self.prefix}to step {until}/{self.max_steps}"
            self.bar.reset(self.task, total=until - validated, completed=done - validated, description=description)

    def advance(self) -> None:
        if self.bar:
            self.bar.advance(self.task)

    def print(self, rows: Sequence[dict[str, float]]) -> None:
        """A line about the last validation; a star marks the best one so far."""
        if self.shown:
            row = rows[-1]
            best = row["valid_loss"] <= min(earlier["valid_loss"] for earlier in rows)
            print(  # above the bar, which passes on what the process prints
                f"{self.prefix}step {row['step']:>{self.width}}/{self.max_steps}  train loss {row['train_loss']:.4f}  "
                f"valid loss {row['valid_loss']:.4f}{'*' if best else ' '}  "
                f"{row['patches_per_second']:,.0f} patches/s  {row['seconds']:.1f} s",
                flush=True,
            )
