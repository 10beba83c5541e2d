"""The file of several cameras: TOML into frozen options; an error names file, table and key in one line.

    [page]                          one page for all of them
    serve = "0.0.0.0:8088"
    token_env = "PAGE_TOKEN"        or token_file; without them STREAMDERAIN_TOKEN, if it is set

    [defaults]                      for every camera that does not say otherwise
    profile = "auto"

    [cameras.garden]
    source_env = "GARDEN"           or source, or source_file
    record = "garden.mkv"
"""
from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from streamderain.errors import DerainError
from streamderain.live import values
from streamderain.live.address import given, mask
from streamderain.live.options import CHECKS, TOKEN, CameraOptions, PageOptions, WrongValue, camera_options

_TABLES = ("page", "defaults", "cameras")
_PAGE = ("serve", "token_env", "token_file", "allow_hosts")
_SOURCES = ("source", "source_env", "source_file")
_DEFAULTS = (*(key for key in CHECKS if key != "source"), "push_env")
_CAMERA = (*CHECKS, "source_env", "source_file", "push_env")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Config:
    """What a file asks for.

    Attributes:
        page: the one page of all cameras.
        cameras: by name, in the file's order.
        variables: environment variables that held secrets; no child process needs to see them.
    """

    page: PageOptions
    cameras: dict[str, CameraOptions]
    variables: frozenset[str]


def read_config(file: Path) -> Config:
    """Read and check a file.

    Raises:
        DerainError: it cannot be read, or something in it is wrong; the line shows no secret.
    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = str(getattr(error, "strerror", None) or "not UTF-8 text").lower()
        raise DerainError(f"{file} cannot be read ({reason}); give a TOML file with [cameras.NAME] tables") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DerainError(mask(f"{file} is no TOML: {error}")) from None
    return _Reader(file).config(tables)


class _Reader:
    """Walks the tables of one file; knows its name for errors."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._variables: set[str] = set()

    def config(self, tables: Mapping[str, Any]) -> Config:
        self._known("the top level", tables, _TABLES)
        page = self._page(self._table("[page]", tables.get("page", {}), _PAGE))
        defaults = self._table("[defaults]", tables.get("defaults", {}), _DEFAULTS)
        self._check("[defaults]", {**self._pushes("[defaults]", defaults), "source": "0"})
        named = self._table("[cameras]", tables.get("cameras", {}), None)
        if not named:
            raise DerainError(f"{self._file} has no camera; write a table such as [cameras.garden] with a source")
        cameras = {name: self._camera(name, entries, defaults) for name, entries in named.items()}
        self._separate(cameras)
        return Config(page, cameras, frozenset(self._variables))

    def _camera(self, name: str, entries: Any, defaults: Mapping[str, Any]) -> CameraOptions:
        where = f"[cameras.{name}]"
        if not _NAME.fullmatch(name):
            raise DerainError(mask(
                f"{self._file}: camera name {name!r} will not do; take up to 64 letters, digits, - and _"
            ))
        entries = self._table(where, entries, _CAMERA)
        if {"push", "push_env"} & entries.keys():  # a camera's own targets take the place of those of the defaults
            defaults = {key: value for key, value in defaults.items() if key not in ("push", "push_env")}
        wishes = self._pushes(where, {**defaults, **entries})
        ways = [key for key in _SOURCES if key in entries]
        if len(ways) != 1:
            said = "none" if not ways else " and ".join(ways)
            self._refuse(where, "source", f"there is {said}; give one of {', '.join(_SOURCES)}")
        wishes["source"] = self._source(where, ways[0], entries[ways[0]])
        options = self._check(where, {key: value for key, value in wishes.items() if key in CHECKS})
        if options.once:
            self._refuse(where, "once", "a camera of this file runs for ever; leave it out")
        return options

    def _page(self, entries: Mapping[str, Any]) -> PageOptions:
        page = PageOptions(next_ports=0 if "serve" in entries else 20)
        where = "[page]"
        if "serve" in entries:
            host, port = self._value(where, "serve", values.serve, entries["serve"])
            page = replace(page, host=host, port=port)
        if "allow_hosts" in entries:
            page = replace(page, allow_hosts=self._value(where, "allow_hosts", values.texts, entries["allow_hosts"]))
        ways = [key for key in ("token_env", "token_file") if key in entries]
        if len(ways) > 1:
            self._refuse(where, ways[1], "token_env is given too; leave one of them out")
        if not ways and os.environ.get(TOKEN, ""):
            ways, entries = ["token_env"], {"token_env": TOKEN}
        return replace(page, token=self._secret(where, ways[0], entries[ways[0]])) if ways else page

    def _pushes(self, where: str, entries: Mapping[str, Any]) -> dict[str, Any]:
        """The entries with the targets of push_env added to those of push."""
        found = dict(entries)
        if "push_env" in found:
            names = self._value(where, "push_env", values.texts, found.pop("push_env"))
            own = self._value(where, "push", values.addresses, found.get("push", ()))
            found["push"] = [*own, *(self._secret(where, "push_env", name) for name in names)]
        return found

    def _source(self, where: str, way: str, value: Any) -> Any:
        if way != "source":
            return self._secret(where, way, value)
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def _secret(self, where: str, key: str, value: Any) -> str:
        """What an environment variable or the first line of a file holds."""
        word = self._value(where, key, values.text, value)
        try:
            if key.endswith("_env"):
                found = given(None, variable=word)
                self._variables.add(word)
            else:
                found = given(None, file=Path(word))
        except DerainError as error:
            self._refuse(where, key, str(error).replace("holds no address", "holds nothing"))
        return found.secret

    def _check(self, where: str, wishes: Mapping[str, Any]) -> CameraOptions:
        try:
            return camera_options(wishes)
        except WrongValue as error:
            self._refuse(where, error.name, error.reason)

    def _value(self, where: str, key: str, check: Any, value: Any) -> Any:
        try:
            return check(value)
        except ValueError as error:
            self._refuse(where, key, str(error))

    def _table(self, where: str, entries: Any, known: Sequence[str] | None) -> dict[str, Any]:
        if not isinstance(entries, dict):
            raise DerainError(f"{self._file}: {where} is no table; write it as {where} with its keys below")
        if known is not None:
            self._known(where, entries, known)
        return entries

    def _known(self, where: str, entries: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in entries:
            if key not in known:
                raise DerainError(mask(
                    f"{self._file}: {where} has no key {key!r}; did you mean {values.nearest(key, known)!r}?"
                ))

    def _refuse(self, where: str, key: str, reason: str) -> NoReturn:
        raise DerainError(mask(f"{self._file}: {where} {key}: {reason}")) from None

    def _separate(self, cameras: Mapping[str, CameraOptions]) -> None:
        """Two cameras that write to one place would spoil each other's files."""
        owners: dict[tuple[str, str], str] = {}
        for name, options in cameras.items():
            places = [("record", _stem(options.record))] if options.record else []
            places += [("push", target.secret) for target in options.push]
            for key, place in places:
                if owners.setdefault((key, place), name) != name:
                    self._refuse(f"[cameras.{name}]", key, f"this is where {owners[key, place]} goes; give another")


def _stem(record: Path) -> str:
    """What the names of a recording's segments begin with."""
    return os.path.realpath(record.with_suffix("") if record.suffix.lower() == ".mkv" else record)
