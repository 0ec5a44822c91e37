"""The one error class that users meet: its message says what was found, what was expected and what to do."""


class TagscaleError(Exception):
    """Bad input or a state that the user can mend. The command line prints it without a traceback."""
