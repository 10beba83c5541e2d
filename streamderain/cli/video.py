"""streamderain video: files in, the same files out without rain."""
from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from streamderain.cli.batch import Batch
from streamderain.cli.common import RATE, TIME, PathType, check_model_file, network_options
from streamderain.cli.destinations import destinations, make_folder
from streamderain.cli.interrupt import Interruptions
from streamderain.cli.progress import Kind, make_progress
from streamderain.cli.report import check_report_path, write_report
from streamderain.report import Report


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="IN... [OUT]")
@click.option("--out-dir", type=PathType(), metavar="DIR",
              help="Put the outputs here under the inputs' names; every path is then an input.")
@click.option("--encoder", default="libx264", show_default=True, metavar="NAME",
              help="libx264, libx265, libsvtav1, ffv1, h264_nvenc or any other video encoder of FFmpeg; auto is NVENC "
                   "where the GPU has it.")
@click.option("--decoder", type=click.Choice(["auto", "cpu", "nvdec"]), default="auto", show_default=True,
              help="auto decodes on the GPU that the network runs on, where its frames are the CPU decoder's; nvdec "
                   "says why not.")
@click.option("--crf", type=click.IntRange(min=0), help="Quality on the encoder's own scale, smaller is better.")
@click.option("--preset", metavar="NAME", help="The encoder's own name for a speed, such as fast or slow.")
@click.option("--format", "container_format", metavar="NAME",
              help="Container, such as matroska, mp4 or y4m; from the name of OUT if not given.")
@click.option("--rate", type=RATE, default="25", show_default=True, metavar="FPS",
              help="Frames per second of pictures, such as 29.97 or 30000/1001.")
@network_options
@click.option("--start", type=TIME, metavar="TIME", help="Begin here: seconds, or 1:02:03.5.")
@click.option("--duration", type=TIME, metavar="TIME", help="Take this much only.")
@click.option("--compare", type=click.Choice(["side", "wipe", "rain"]),
              help="Show before and after side by side, under a moving line, or only the rain that was taken away.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
@click.option("--report", "report_path", type=PathType(), metavar="FILE",
              help="Write what was done, in numbers, as JSON.")
@click.option("--progress", "kind", type=click.Choice(["auto", "plain", "json", "none"]), default="auto",
              show_default=True, help="How to tell how far it is, on stderr.")
@click.option("--max-pixels", type=click.IntRange(min=1), metavar="N",
              help="Refuse larger frames; 8192 x 4320 if not given.")
@click.pass_context
def command(
    ctx: click.Context, paths: tuple[str, ...], out_dir: Path | None, report_path: Path | None, kind: Kind,
    profile: str, device: str, model: Path | None, strength: float, backend: str, precision: str,
    cache_dir: Path | None, **options: Any,
) -> None:
    """Take the rain out of a video file.

    IN is any file that FFmpeg reads, a folder or pattern of pictures, or - for stdin. OUT is a file, a pattern such
    as out/%06d.png, or - for stdout. Timestamps, sound, subtitles and everything else stay as they are.

    Exit code: 0 complete, 1 refused before any work, 3 the input is damaged or short, 4 the output could not be
    written any further, 129, 130 or 143 interrupted; of several inputs the highest.
    """
    pairs = destinations(paths, out_dir, options["container_format"])
    if report_path is not None:
        named = [Path(name) for pair in pairs for name in pair if name != "-"]
        check_report_path(report_path, named if model is None else [*named, model])
    check_model_file(model)
    made = out_dir is not None and make_folder(out_dir)
    network = {"profile": profile, "device": device, "model": model, "strength": strength}
    network |= {"backend": backend, "precision": precision, "cache_dir": cache_dir}
    options["device"] = device
    batch = Batch([Report(*pair) for pair in pairs], network, options, make_progress(kind))
    with Interruptions() as interruptions:
        try:
            batch.run(interruptions)
        except KeyboardInterrupt:
            batch.interrupted()
        finally:
            if report_path is not None:
                write_report(report_path, batch.as_dict())
            if out_dir is not None and made:
                with suppress(OSError):  # something is in it
                    out_dir.rmdir()
    ctx.exit(batch.exit_code if batch.complete else interruptions.exit_code or batch.exit_code)
