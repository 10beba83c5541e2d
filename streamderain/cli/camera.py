"""streamderain camera: a live picture without rain, on screen, in a browser, on disk and pushed on."""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from streamderain.cli.common import TIME, PathType, check_model_file, network_options
from streamderain.cli.live_run import LogKind, run_one, run_several
from streamderain.errors import DerainError
from streamderain.live import values
from streamderain.live.address import Address, given
from streamderain.live.options import TOKEN, CameraOptions, PageOptions, WrongValue, camera_options, check_source

_WITH_CONFIG = {"config", "log_kind", "duration"}
_IN_VIEW = "can be read by other users of this machine in the list of processes"


class Checked(click.ParamType):
    """An option whose value one of live.values checks."""

    def __init__(self, check: Callable[[Any], Any], name: str) -> None:
        self._check, self.name = check, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, or a usage error."""
        try:
            return self._check(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


def _file(**options: Any) -> Any:
    return {"type": PathType(), **options}


@click.command()
@click.argument("source", required=False)
@click.option("--source-env", metavar="NAME", help="Take SOURCE from this environment variable.")
@click.option("--source-file", **_file(metavar="FILE", help="Take SOURCE from the first line of this file."))
@click.option("--config", **_file(metavar="FILE", help="Run all cameras of this TOML file, one process each."))
@click.option("--list", "list_them", is_flag=True, help="Show the cameras of this machine and end.")
@click.option("--size", type=Checked(values.size, "size"), metavar="WxH", help="Ask a local camera for this size.")
@click.option("--rate", type=Checked(values.rate, "rate"), metavar="FPS", help="Ask a local camera for this rate.")
@click.option("--pixel-format", type=Checked(values.pixel_format, "name"), metavar="NAME",
              help="Ask a local camera for this, such as mjpeg or yuyv422.")
@click.option("--transport", type=click.Choice(["auto", "tcp", "udp"]), default="auto", show_default=True,
              help="How RTSP comes; auto is tcp, which loses nothing.")
@click.option("--pace", is_flag=True, help="Play a file at its own pace as if it were a camera, again and again.")
@click.option("--once", is_flag=True, help="With --pace: end when the file does.")
@network_options
@click.option("--max-latency", "max_latency_ms", type=click.IntRange(20, 60_000), default=500, show_default=True,
              metavar="MS", help="Drop a frame rather than show it later than this.")
@click.option("--show", is_flag=True, help="Show a window: q ends, space pauses, c compares, s takes a snapshot.")
@click.option("--record", **_file(metavar="FILE", help="Record to files of this name with the time in it."))
@click.option("--segment", type=Checked(values.seconds, "time"), default="10:00", show_default=True, metavar="TIME",
              help="Begin a new recording after this long.")
@click.option("--segment-size", type=Checked(values.byte_count, "bytes"), metavar="BYTES",
              help="Begin a new recording at this size, such as 500M.")
@click.option("--keep", type=Checked(values.keep, "bound"), metavar="BOUND",
              help="Delete recordings of this name beyond so many (20), so old (7d, 36h) or so large (50G, together).")
@click.option("--push", multiple=True, metavar="URL",
              help="Send the stream to rtsp://, rtmp://, udp:// or srt://; may be given several times.")
@click.option("--push-env", multiple=True, metavar="NAME", help="Take a URL to push to from this variable.")
@click.option("--decoder", type=click.Choice(["auto", "cpu", "nvdec"]), default="auto", show_default=True,
              help="auto decodes on the GPU that the network runs on, where it can; nvdec says why not.")
@click.option("--encoder", default="auto", show_default=True, metavar="NAME",
              help="Of recordings and pushes; auto is NVENC where the GPU has it, else libx264.")
@click.option("--crf", type=click.IntRange(0, 255), help="Quality on the encoder's own scale, smaller is better.")
@click.option("--preset", metavar="NAME", help="The encoder's own name for a speed.")
@click.option("--serve", type=Checked(values.serve, "place"), metavar="[HOST:]PORT",
              help="Serve the page here; beyond this machine only with a token.")
@click.option("--token", metavar="TEXT", envvar=TOKEN, show_envvar=True, help="What a visitor of the page must know.")
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME",
              help="A name under which the page may be called, such as the proxy's.")
@click.option("--virtual-camera", is_flag=False, flag_value="auto", metavar="[DEVICE]",
              help="Be a camera for other programs, where the platform can.")
@click.option("--snapshots", **_file(metavar="DIR", help="Keep single pictures here when asked to."))
@click.option("--no-sound", is_flag=True, help="Leave the camera's sound out of recordings and pushes.")
@click.option("--duration", type=TIME, metavar="TIME", help="End after this long.")
@click.option("--log", "log_kind", type=click.Choice(["auto", "plain", "json"]), default="auto", show_default=True,
              help="How to tell what happens, on stderr; auto is one line that changes on a terminal.")
@click.pass_context
def command(
    ctx: click.Context, source: str | None, source_env: str | None, source_file: Path | None, config: Path | None,
    list_them: bool, duration: float | None, log_kind: LogKind, **options: Any,
) -> None:
    """Take the rain out of a live camera, for hours and days.

    SOURCE is a camera's number or device, an address such as rtsp://camera/stream, a file with --pace, or testsrc.
    Without any output, a page with the live picture is served on this machine.

    Exit code: 0 the duration or a file is over or the window was closed, 1 refused before any work, 4 an output could
    not be written any further, 129, 130 or 143 interrupted.
    """
    if list_them:
        return _list()
    if config is not None:
        _alone(ctx, source)
        from streamderain.live.config import read_config

        ctx.exit(run_several(read_config(config), config, duration=duration, log=log_kind))
    address = _source(source, source_env, source_file)
    page, camera = _page(options), _camera(ctx, address, options)
    check_model_file(camera.model)
    check_source(camera)
    if not camera.has_output and page is None:
        page = PageOptions(next_ports=20, token=options["token"], allow_hosts=options["allow_hosts"])
    if camera.snapshots is not None and page is None and not camera.show:
        raise click.UsageError("--snapshots goes with --serve or --show: a picture is asked for there.")
    warnings = _in_view(ctx, source, options)
    ctx.exit(run_one(camera, page, duration=duration, log=log_kind, warnings=warnings))


def _list() -> None:
    """One line for each camera of this machine."""
    from streamderain.live.cameras import list_cameras

    found = list_cameras()
    for each in found:
        click.echo(str(each))
    if not found:
        click.echo("no camera here; network cameras are given by address, and testsrc is always there")


def _alone(ctx: click.Context, source: str | None) -> None:
    """With a file of cameras, what belongs to a camera stands in the file."""
    if source is not None:
        raise click.UsageError("SOURCE does not go with --config; write it into the file.")
    for option in ctx.command.params:
        name = option.name or ""
        given_here = ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given_here and name not in _WITH_CONFIG:
            raise click.UsageError(f"{option.opts[0]} does not go with --config; write it into the file.")


def _source(text: str | None, variable: str | None, file: Path | None) -> Address:
    if text is None and variable is None and file is None:
        raise click.UsageError("give a SOURCE, --source-env, --source-file or --config; --list shows what is here.")
    address = given(text, variable=variable, file=file)
    if variable is not None:
        os.environ.pop(variable, None)  # our child processes need not know it
    return address


def _camera(ctx: click.Context, source: Address, options: dict[str, Any]) -> CameraOptions:
    """The options of this camera, checked as a configuration file's are, and for what only makes sense together."""
    if options["once"] and not options["pace"]:
        raise click.UsageError("--once goes with --pace.")
    for name, flag in (("segment", "--segment"), ("segment_size", "--segment-size"), ("keep", "--keep")):
        if options["record"] is None and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{flag} goes with --record.")
    wishes = {name: value for name, value in options.items() if name in CameraOptions.__dataclass_fields__}
    wishes |= {"source": source, "sound": not options["no_sound"], "push": _pushes(options)}
    try:
        return camera_options(wishes)
    except WrongValue as error:
        raise click.UsageError(f"--{error.name.replace('_', '-')}: {error.reason}.") from None


def _pushes(options: dict[str, Any]) -> list[str]:
    found = list(options["push"])
    for variable in options["push_env"]:
        target = os.environ.pop(variable, "").strip()
        if not target:
            raise DerainError(f"the environment variable {variable} holds no address to push to; set it")
        found.append(target)
    return found


def _page(options: dict[str, Any]) -> PageOptions | None:
    os.environ.pop(TOKEN, None)
    if options["serve"] is None:
        return None
    host, port = options["serve"]
    return PageOptions(host, port, token=options["token"], allow_hosts=options["allow_hosts"])


def _in_view(ctx: click.Context, source: str | None, options: dict[str, Any]) -> list[str]:
    """Warnings about secrets that the list of processes shows."""
    lines = []
    if source is not None and Address(source).has_secret:
        lines.append(f"the password in the address {_IN_VIEW}; --source-env or --source-file hides it")
    if any(Address(target).has_secret for target in options["push"]):
        lines.append(f"the password of --push {_IN_VIEW}; --push-env hides it")
    if ctx.get_parameter_source("token") is click.core.ParameterSource.COMMANDLINE:
        lines.append(f"the token {_IN_VIEW}; the variable {TOKEN} hides it")
    return lines
