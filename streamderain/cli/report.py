"""The report file: one JSON object, complete or not there at all."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from streamderain.errors import DerainError
from streamderain.outputs import write_whole


def check_report_path(path: Path, taken: list[Path]) -> None:
    """Refuse a place where the report could not be written, or would overwrite a file of the run.

    Args:
        path: where the report shall go.
        taken: files that the run reads or writes.

    Raises:
        DerainError: the folder is missing or closed, or the path is no ordinary file or among those taken.
    """
    folder = path.resolve().parent
    if path.exists() and not path.is_file():
        raise DerainError(f"report {path} is no ordinary file; choose another name.")
    if not folder.is_dir():
        raise DerainError(f"report {path} has no folder to go to; make {folder} first.")
    if not os.access(folder, os.W_OK):
        raise DerainError(f"report {path} cannot be written; its folder is read-only for you.")
    if path.resolve() in {other.resolve() for other in taken}:
        raise DerainError(f"report {path} is also read or written by the run; choose another name.")


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write the report; the file appears when it is complete.

    Raises:
        DerainError: it cannot be written; exit code 4.
    """
    try:
        write_whole(path, (json.dumps(report, indent=2) + "\n").encode())
    except OSError as error:
        reason = error.strerror or error
        raise DerainError(
            f"report {path} could not be written ({reason}); make room or choose another place.", exit_code=4
        ) from error
