"""Addresses that may hold a password: what is printed, logged or raised is always the masked form."""
from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from streamderain.errors import DerainError

MASK = "***"
_USER_INFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s'\"<>]*@")
_SECRET_WORDS = (
    "pass|passwd|password|passphrase|pwd|pw|psw|token|key|secret|auth|signature|sig|streamid|user|username|login"
)
# DVRs write /user=admin_password=1234_channel=1
_SECRET_QUERY = re.compile(rf"(?P<name>[?&;/_](?:[\w.-]*(?:{_SECRET_WORDS})[\w.-]*)=)[^&;#\s'\"]*", re.IGNORECASE)

# Who knows the last part of an RTMP address, /app/key, may send
_STREAM_KEY = re.compile(r"(?P<place>rtmps?://[^/\s'\"<>]+/[^\s'\"<>]*/)[^/\s'\"<>]+", re.IGNORECASE)


def mask(text: str) -> str:
    """The text with user, password, stream key and secret parameters of every address in it replaced by ***."""
    shown = _USER_INFO.sub(rf"\g<scheme>{MASK}@", text)
    shown = _SECRET_QUERY.sub(rf"\g<name>{MASK}", shown)
    return _STREAM_KEY.sub(rf"\g<place>{MASK}", shown)


@dataclass(frozen=True, slots=True)
class Address:
    """A source or target as it was given; only `secret` shows all of it.

    Attributes:
        secret: the whole address, for the library that opens it and nobody else.
    """

    secret: str = field(repr=False)

    def __str__(self) -> str:
        head, found, rest = self.secret.partition("://")
        if not found:
            return self.secret
        _, has_login, place = rest.rpartition("@")  # a password may hold any character, another @ too
        return mask(f"{head}://{MASK}@{place}" if has_login else self.secret)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    @property
    def scheme(self) -> str:
        """The part before "://" in lower case; "" for a device, a file or a name."""
        return self.secret.partition("://")[0].lower() if "://" in self.secret else ""

    @property
    def has_secret(self) -> bool:
        """Whether the masked form hides anything."""
        return str(self) != self.secret

    def hide(self, text: object) -> str:
        """A text about this address, such as a library's error, without its secrets, whatever form they stand in."""
        shown = str(text).replace(self.secret, str(self))
        for word in self._secrets():
            shown = shown.replace(word, MASK)
        return mask(shown)

    def _secrets(self) -> list[str]:
        login = self.secret.partition("://")[2].rpartition("@")[0] if self.scheme else ""
        found = {login, login.partition(":")[2]}
        found |= {match.group(0).split("=", 1)[1] for match in _SECRET_QUERY.finditer(self.secret)}
        key = self.secret.rpartition("/")[2] if _STREAM_KEY.search(self.secret) else ""
        found |= {key} if len(key) > 7 else set()  # a short one is a word of the language
        found |= {unquote(word) for word in found}
        return sorted((word for word in found if len(word) > 2), key=len, reverse=True)


def given(text: str | None, *, variable: str | None = None, file: Path | None = None) -> Address:
    """The address that was given in one of three ways; the last two keep a password out of the list of processes.

    Args:
        text: on the command line.
        variable: name of an environment variable that holds it.
        file: a file whose first line is it.

    Raises:
        DerainError: none or several of them are given, or the variable or file holds nothing.
    """
    if sum(way is not None for way in (text, variable, file)) != 1:
        raise DerainError("give one source: an address, or --source-env NAME, or --source-file FILE")
    if variable is not None:
        text = os.environ.get(variable, "").strip()
        if not text:
            raise DerainError(f"the environment variable {variable} holds no address; set it, for example with export")
    if file is not None:
        text = _first_line(file)
    assert text is not None
    if "\0" in text or "\n" in text or not text.strip():
        raise DerainError("the address is empty or holds a line break; give one address")
    return Address(text)


def _first_line(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = str(getattr(error, "strerror", None) or "not text").lower()
        raise DerainError(f"{file} cannot be read ({reason}); give a file with the address in it") from None
    if not lines[0].strip():
        raise DerainError(f"the first line of {file} is empty; write the address there")
    return lines[0].strip()


class Redaction(logging.Filter):
    """A logging filter that masks every address in a record, its arguments and its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record in place and let it pass."""
        record.msg, record.args = mask(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = mask(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True
