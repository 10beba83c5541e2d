"""The one exception that is the user's trouble and not a bug: told in one line, without a traceback."""


class DerainError(Exception):
    """One line for the user: the thing, the reason, what to do.

    Args:
        message: the line, without a leading "Error:" and without line breaks.
        exit_code: what the command line exits with: 1 found before any work, 3 input damaged or short,
            4 output could not be written any further.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
