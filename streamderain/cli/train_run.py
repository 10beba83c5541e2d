"""One training from its options to its last line: settings, folders, method, loop, what is told."""
from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from streamderain.cli import train_resume
from streamderain.cli.interrupt import Interruptions
from streamderain.cli.progress import clock_time
from streamderain.cli.train_lock import alone
from streamderain.core.checkpoint import CheckpointError
from streamderain.engine import resolve_device
from streamderain.errors import DerainError
from streamderain.outputs import write_whole
from streamderain.trainers import method_class, state
from streamderain.trainers.clips import Clip
from streamderain.trainers.config import as_dict, configured, read_toml, resolve
from streamderain.trainers.distributed import World, joined
from streamderain.trainers.loop import BEST, LAST, Progress, train

SAY_SECONDS = 5.0
PICTURES = 4
SOURCES = "sources.json"


class Run:
    """A training as the command line asks for it.

    Args:
        method: a name of streamderain.trainers.METHODS.
        options: of the command, by name.

    Raises:
        DerainError: a setting that does not exist or does not fit.
    """

    def __init__(self, method: str, options: dict[str, Any]) -> None:
        self.kind, self.options, self.out = method_class(method), options, options["out"]
        self.rainy, self.clean = list(options["rainy"]), list(options["clean"])
        given = dict(_parsed(setting) for setting in options["settings"])
        own = {"steps": "train.steps", "batch": "train.batch_size", "seed": "train.seed", "workers": "train.workers",
               "profile": "network.profile"}  # fmt: skip
        flags = {key: options[name] for name, key in own.items() if options.get(name) is not None}
        flags["train.device"] = resolve_device(options["device"])
        if method == "rdmc" and not self.rainy:
            flags["data.pairing"] = "rendered"
        try:
            file = read_toml(options["config_file"]) if options["config_file"] else {}
            sources = (self._preset(), file, given, flags)
            self.config = configured(self.kind.config_type, *sources)
            named = {resolve(self.kind.config_type, key) for source in sources for key in source}
        except ValueError as error:
            raise DerainError(f"{error}; `streamderain train {method} --list-settings` shows all") from None
        self._steps_given = "train.steps" in named and self.config.train.steps is not None

    def go(self, interruptions: Interruptions) -> None:
        """Train, tell, and end with the line that uses the result.

        Raises:
            DerainError: folders, weights or a state that cannot be used, or a loss that is not finite.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DerainError(f"{self.out} cannot be made ({error.strerror}); choose another folder") from None
        try:
            with tempfile.TemporaryFile(dir=self.out):  # now, and not after an hour of reading material
                pass
        except OSError as error:
            raise DerainError(f"{self.out} cannot be written ({error.strerror}); choose another folder") from None
        with joined(self.config.train.device) as (world, device):
            self.config = _with(self.config, device=device)
            try:
                with alone(self.out) if world.first else nullcontext():
                    self._train(world, interruptions)
            except (CheckpointError, ValueError) as error:
                raise DerainError(str(error)) from None
            except OSError as error:
                raise DerainError(f"{self.out} could not be written any further ({error})", exit_code=4) from None

    def _train(self, world: World, interruptions: Interruptions) -> None:
        if not self._steps_given and (steps := train_resume.steps(self.out)):
            self.config = _with(self.config, steps=steps)
        if world.first:
            self._refuse_others()
            self._gather()
        world.wait()
        clips = {side: _read(self.out / "clips" / side) for side in ("rainy", "clean")}
        extra = {"encoders": self._encoders()} if hasattr(self.kind, "notes") else {}
        method = self.kind(self.config, clips["rainy"], clips["clean"], **extra)
        self.config = method.config = _with(self.config, steps=self.config.train.steps or _paper_steps(method, world))
        if world.first:
            write_whole(self.out / train_resume.SETTINGS, json.dumps(as_dict(self.config), indent=2).encode())
            self._announce(method, world)
        told = _Told(self.out, clips["rainy"]) if world.first else None
        with interruptions.orderly():
            best = train(
                method, method.samples, self.config.train, self.out, world=world, card={"config": as_dict(self.config)},
                on_step=told.step if told else lambda progress: None, stop=interruptions.stop.is_set, say=_warn,
            )
        if told:
            told.end(best)
        if interruptions.exit_code is not None:
            raise SystemExit(interruptions.exit_code)

    def _preset(self) -> dict[str, Any]:
        name, known = self.options["preset"], self.kind.presets
        if name is None:
            return {}
        if name not in known:
            raise DerainError(f"{self.kind.name} has no preset {name}; it has {', '.join(known) or 'none'}")
        return known[name]

    def _gather(self) -> None:
        """Turn the folders into clips, once, and say what was found."""
        from streamderain.material import gather, gather_pairs
        from streamderain.trainers.clips import INDEX

        paired = self._paired()
        for side, folders in (("rainy", self.rainy), ("clean", self.clean)):
            into = self.out / "clips" / side
            sources = _sources([*folders, *self.clean] if paired else folders)
            gathered = (into / INDEX).exists() and self._known(side) == sources
            if not folders or gathered or (paired and side == "clean"):
                continue
            click.echo(f"Reading {' and '.join(map(str, folders))} ...")
            if paired:
                if len(self.rainy) != 1 or len(self.clean) != 1:
                    raise DerainError("pairs are matched by name; give one --rainy and one --clean")
                found = gather_pairs(self.rainy[0], self.clean[0], into)
            else:
                found = gather(folders, into, say=_warn)
            write_whole(into / SOURCES, json.dumps(sources).encode())
            click.echo(f"{side}: {found}")

    def _encoders(self) -> Any:
        from streamderain import weights
        from streamderain.trainers.frozen import EncoderFiles

        vgg, clip = self.options.get("vgg_weights"), self.options.get("clip_weights")
        stream = None if vgg else weights.find("realtime")
        return EncoderFiles(vgg, clip, stream)

    def _refuse_others(self) -> None:
        """A run that goes on must have the method, the settings and the folders that it began with."""
        known = {side: self._known(side) for side in ("rainy", "clean")}
        if self._paired() and known["rainy"] is not None:  # both folders stand beside the pairs
            known = {"rainy": known["rainy"][:1], "clean": known["rainy"][1:] or None}
        folders = {"rainy": _sources(self.rainy), "clean": _sources(self.clean)}
        train_resume.refuse_others(self.out, self.kind.name, as_dict(self.config), folders, known)

    def _paired(self) -> bool:
        """Whether the two folders hold pairs, which are gathered as one side."""
        return getattr(self.config.data, "pairing", "") == "paired"

    def _known(self, side: str) -> list[str] | None:
        """The folders that a side was gathered from; None where it was not."""
        path = self.out / "clips" / side / SOURCES
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def _announce(self, method: Any, world: World) -> None:
        """What will be done, in a line or two."""
        settings, first = self.config.train, state.found(self.out)
        for name, value in getattr(method, "notes", {}).items():
            click.echo(f"{name.replace('_', ' ')}: {value}")
        share = f" on each of {world.size} processes" if world.size > 1 else ""
        where = f"on {settings.device}, into {self.out}"
        click.echo(f"{self.kind.name} for {settings.steps} steps of {settings.batch_size} samples{share} {where}")
        if first:
            click.echo(f"going on from {first[0].name}")


class _Told:
    """A line every few seconds, one at every score, the log, and the panel of pictures."""

    def __init__(self, out: Path, rainy: list[Clip]) -> None:
        from streamderain.trainers.log import Log
        from streamderain.trainers.pictures import apart

        self._out, self._log = out, Log(out)
        self._pictures = [clip.frames[0] for clip in apart(rainy)[1][:PICTURES]]
        self._said = time.monotonic() - SAY_SECONDS
        self._complete = True
        if not self._log.tensorboard:
            click.echo("TensorBoard is not installed; the figures go to log.jsonl (pip install tensorboard)")

    def step(self, progress: Progress) -> None:
        """Log a step, and tell it if it is time."""
        self._log.step(progress)
        self._complete = progress.step >= progress.steps
        scores = progress.scores
        if scores is None and time.monotonic() - self._said < SAY_SECONDS:
            return
        self._said = time.monotonic()
        losses = "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
        left = clock_time((progress.steps - progress.step) / max(progress.steps_per_second, 1e-9))
        told = ""
        if scores:
            told = f"  score {scores['score']:.2f} dB (untouched {scores['input']:.2f})" + "  best" * progress.best
            self._panel(progress.step)
        click.echo(f"{progress.step}/{progress.steps}  {progress.steps_per_second:.1f}/s  {left} left  {losses}{told}")

    def end(self, best: float) -> None:
        """The last line."""
        self._log.close()
        if not self._complete:
            click.echo(f"Interrupted; the state is in {self._out}: the same command goes on from there.", err=True)
            return
        use = f"streamderain video in.mp4 out.mp4 --model {self._out / BEST}"
        click.echo(f"Best {best:.2f} dB. Use it: {use}")

    def _panel(self, step: int) -> None:
        """The same pictures every time, with the weights as they are now."""
        if not self._pictures:
            return
        from streamderain import panel
        from streamderain.derainer import Derainer

        derainer = Derainer(device="cpu", model=self._out / LAST)

        def derain(picture: Any) -> Any:
            derainer.reset()
            return derainer(picture)

        drawn = panel.draw(derain, self._pictures)
        panel.write(self._out / "panel.png", drawn)
        self._log.picture("panel", drawn, step)


def _sources(folders: list[Path]) -> list[str]:
    return [str(folder.resolve()) for folder in folders]


def _read(folder: Path) -> list[Clip]:
    """The clips of one side; none where that side was not given."""
    from streamderain.trainers.clips import INDEX, read_clips

    return read_clips(folder) if (folder / INDEX).exists() else []


def _paper_steps(method: Any, world: World) -> int:
    """The paper's epochs over this data."""
    train_config = method.config.train
    each = max(method.samples.epoch_length // (train_config.batch_size * world.size), 1)
    return each * (train_config.epochs + train_config.decay_epochs)


def _with(config: Any, **changes: Any) -> Any:
    """The configuration with other train.* settings."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))


def _parsed(setting: str) -> tuple[str, str]:
    """KEY=VALUE."""
    key, equals, text = setting.partition("=")
    if not equals:
        raise DerainError(f"--set {setting} has no value; write KEY=VALUE")
    return key, text


def _warn(line: str) -> None:
    click.echo(line, err=True)
