"""Our own interpreter as a child process."""
from __future__ import annotations

import os
import sys


def python(*arguments: str) -> list[str]:
    """The command that runs it; modules lying in the working folder are found there only if they are found here."""
    here = os.getcwd() in sys.path or "" in sys.path
    return [sys.executable, *(() if here else ("-P",)), *arguments]
