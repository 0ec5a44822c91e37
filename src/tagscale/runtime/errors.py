"""The error that users meet, and the walk from an error to what caused it."""

from collections.abc import Iterator


class TagscaleError(Exception):
    """Bad input or a state that the user can mend. The command line prints its message without a traceback.

    The message names the file or key, what was found, what was expected and what to do.
    """


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error itself, then what it was raised from, or else during, and so on to the first one.

    >>> try:
    ...     try:
    ...         raise KeyError("first")
    ...     except KeyError as first:
    ...         raise ValueError("second") from first
    ... except ValueError as second:
    ...     [type(error).__name__ for error in causes(second)]
    ['ValueError', 'KeyError']
    """
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
