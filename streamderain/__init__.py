"""streamderain takes the rain out of video files and live cameras."""
from importlib import import_module as _import_module
from pathlib import Path as _Path
from typing import TYPE_CHECKING
from typing import Any as _Any

_ROOT = _Path(__file__).resolve().parent.parent
if (_ROOT / "setup.cfg").is_file():  # a bare checkout: core/ and trainers/ stand beside this folder
    __path__.append(str(_ROOT))

from streamderain._version import __version__  # noqa: E402

if TYPE_CHECKING:
    from streamderain.derain_file import derain_video
    from streamderain.derainer import Derainer
    from streamderain.frame import Frame

__all__ = ["Derainer", "Frame", "__version__", "derain_video"]

_HOMES = {  # imported when asked for, so that `import streamderain` stays light
    "Derainer": "streamderain.derainer",
    "Frame": "streamderain.frame",
    "derain_video": "streamderain.derain_file",
}


def __getattr__(name: str) -> _Any:
    if name in _HOMES:
        return getattr(_import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
