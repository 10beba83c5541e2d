"""The three streams that a program is started with, also where somebody started it with one of them closed."""
from __future__ import annotations

import os
import sys


def occupy_closed_streams() -> None:
    """Put nothing in the place of a closed stdin, stdout or stderr.

    The next file that is opened would take its number: what a library in C says on stderr would go into the video
    that is being written. stdin and stdout stay None, so that `-` can be refused; stderr takes what nobody reads.
    """
    for number, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):  # neither 0 nor 1 works by mistake
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free
            if os.name == "posix":
                os.set_inheritable(number, True)  # or a child's is closed again
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # as long as we run
