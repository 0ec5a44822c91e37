"""What a training prints: a line for each validation, and on a terminal a bar that counts the steps before the next."""

from collections.abc import Sequence

from rich.console import Console

from tagscale.runtime.progress import progress_bar


class Display:
    """Prints the progress of one training inside a `with` block.

    Args:
        name: of the step of the training; may be empty
        shown: whether anything is printed: by one of several processes
    """

    def __init__(self, name: str, max_steps: int, shown: bool) -> None:
        self.prefix, self.shown = f"{name} " if name else "", shown
        self.max_steps, self.width = max_steps, len(str(max_steps))
        self.console = Console()
        hidden = not (shown and self.console.is_terminal)
        self.bar = progress_bar("steps", self.console, transient=True, disable=hidden)
        self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def start(self, validated: int, until: int, done: int) -> None:
        """Count the steps between two validations, of which some were done before an interruption."""
        description = f"{self.prefix}to step {until}/{self.max_steps}"
        self.bar.reset(self.task, total=until - validated, completed=done - validated, description=description)

    def advance(self) -> None:
        self.bar.advance(self.task)

    def print(self, rows: Sequence[dict[str, float]]) -> None:
        """A line about the last validation; a star marks the best one so far."""
        if self.shown:
            row = rows[-1]
            best = row["valid_loss"] <= min(earlier["valid_loss"] for earlier in rows)
            self.console.print(
                f"{self.prefix}step {row['step']:>{self.width}}/{self.max_steps}  train loss {row['train_loss']:.4f}  "
                f"valid loss {row['valid_loss']:.4f}{'*' if best else ' '}  "
                f"{row['patches_per_second']:,.0f} patches/s  {row['seconds']:.1f} s",
                highlight=False,
                soft_wrap=True,
            )
