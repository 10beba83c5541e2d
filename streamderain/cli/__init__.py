"""The streamderain command: one file per subcommand, imported when it is called; the only place that prints."""
from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import Any

import click

from streamderain._version import __version__
from streamderain.cli.memory import keep_freed_memory
from streamderain.cli.streams import occupy_closed_streams
from streamderain.cli.text import sentence
from streamderain.errors import DerainError
from streamderain.outputs import ReaderGone

# Decoder, encoder and whatever else runs here need the cores that OpenMP's waiting threads would burn: with one more
# busy process on two cores, a 640x360 file went from 4.8 to 10.9 fps. Read when torch and Numba load their OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
keep_freed_memory()
occupy_closed_streams()

COMMANDS = {
    "video": "Take the rain out of a video file.",
    "image": "Take the rain out of photos.",
    "camera": "Take the rain out of a live camera.",
    "eval": "Score derained pictures or video against their clean truth.",
    "bench": "Measure speed on this machine.",
    "compile": "Build the network for this machine ahead of its first use.",
    "models": "List the weights that are here.",
    "doctor": "Say what works on this machine and what to do about the rest.",
    "train": "Make weights.",
}


# A path that the system itself refuses, already where something is only asked of it.
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG})
# A disk that takes nothing more; a file's own writer names the file, so what has no name is our stdout.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class UserTrouble(click.ClickException):
    """A DerainError on its way to the terminal: one line, its own exit code."""

    def __init__(self, error: DerainError) -> None:
        super().__init__(sentence(str(error)))
        self.exit_code = error.exit_code  # type: ignore[misc]  # declared per class, read per instance


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported now; None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        return import_module(f"streamderain.cli.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table as help, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; the user's trouble becomes one line and an exit code here, a bug keeps its traceback."""
        try:
            _refuse_a_lost_folder()
            return super().invoke(ctx)
        except ReaderGone as error:
            ctx.exit(error.exit_code)
        except DerainError as error:
            raise UserTrouble(error) from error
        except OSError as error:
            reason = (error.strerror or "refused").lower()
            if error.errno in _FULL and error.filename is None:
                line = f"the output cannot be written ({reason}); make room or send it elsewhere"
                raise UserTrouble(DerainError(line, exit_code=4)) from error
            if error.errno not in _REFUSED or error.filename is None:
                raise
            path = os.fsdecode(error.filename)
            line = f"{path} cannot be used ({reason}); give another path or change its permissions"
            raise UserTrouble(DerainError(line)) from error
        except KeyboardInterrupt:
            ctx.exit(130)


def _refuse_a_lost_folder() -> None:
    """Torch's libraries end the whole process in a folder that was deleted.

    Raises:
        DerainError: the current folder is not there any more.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise DerainError("the current folder was deleted; cd to another and start again") from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="streamderain")
def main() -> None:
    """Take the rain out of video files and live cameras."""
