"""The README's speed table from a benchmark's JSON.

    python benchmarks/speed_table.py bench.json                       prints it
    python benchmarks/speed_table.py docs/speed.json --write README.md   puts it between the README's two comments

bench.json is what `streamderain bench --out DIR` writes.
"""
from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from streamderain.bench.tables import origin, summary

BEGIN, END = "<!-- speed table: made by benchmarks/speed_table.py -->", "<!-- end of the speed table -->"


def main() -> None:
    """Print the table, or write it into a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path, metavar="bench.json")
    parser.add_argument("--write", type=Path, metavar="README.md")
    given = parser.parse_args()
    made = section(json.loads(given.document.read_text(encoding="utf-8")))
    if given.write is None:
        sys.stdout.write(made)
        return
    text = given.write.read_text(encoding="utf-8")
    if not _place().search(text):
        sys.exit(f"{given.write} has no place for the table; it goes between '{BEGIN}' and '{END}'")
    given.write.write_text(replaced(text, made), encoding="utf-8")


def section(document: dict[str, Any]) -> str:
    """The table, and below it what it holds for.

    Args:
        document: a benchmark's JSON.
    """
    return f"{summary(document['runs']).markdown()}\n{origin(document)}\n"


def replaced(text: str, made: str) -> str:
    """The text with `made` in place of what stands between the two comments."""
    return _place().sub(lambda found: f"{BEGIN}\n{made}{END}", text)


def _place() -> re.Pattern[str]:
    return re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)


if __name__ == "__main__":
    main()
