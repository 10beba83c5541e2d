"""What the documents say is true: commands, options, files, links, versions."""
import re
from pathlib import Path

import click
import pytest

from streamderain import __version__
from streamderain.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")


def every_command():
    """Every command and subcommand with its full name."""
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        yield name, command
        for part, child in getattr(command, "commands", {}).items():
            yield f"{name} {part}", child


COMMAND_OBJECTS = dict(every_command())
OPTIONS = [
    pytest.param(option, id=f"{name} {option.opts[0]}")
    for name, command in COMMAND_OBJECTS.items()
    for option in command.params
    if isinstance(option, click.Option)
]


@pytest.mark.parametrize("name, command", COMMAND_OBJECTS.items())
def test_every_command_has_help(name, command):
    assert command.help and len(command.help) > 10


@pytest.mark.parametrize("name", COMMAND_OBJECTS)
def test_every_command_is_in_the_readme(name):
    assert f"streamderain {name}" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_heading(name):
    assert f"### `streamderain {name}`\n" in README


def test_readme_names_no_command_that_is_not_there():
    named = set(re.findall(r"(?:^ {4}(?:\$ )?|`|bin/|\| )streamderain ([a-z]+)\b", README, re.MULTILINE))
    assert named - set(COMMANDS) == set()


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_in_the_readme(option):
    assert any(re.search(rf"{re.escape(text)}(?![a-z-])", README) for text in option.opts if text.startswith("--"))


def test_readme_names_no_option_that_is_not_there():
    ours = {text for command in COMMAND_OBJECTS.values() for option in command.params for text in option.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert named - ours == set()


@pytest.mark.parametrize("line", [line for line in README.splitlines() if re.search(r"streamderain [a-z]+ .*--", line)])
def test_options_belong_to_the_command_they_stand_behind(line):
    name, rest = re.findall(r"streamderain (train [a-z_]+|[a-z]+)\b([^`#]*)", line)[0]
    if name in COMMAND_OBJECTS:
        own = {text for option in COMMAND_OBJECTS[name].params for text in option.opts}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) - own == set()


@pytest.mark.parametrize("document", ["README.md", "docs/design.md", "docs/methods.md", "CHANGELOG.md"])
def test_every_link_leads_somewhere(document):
    path = ROOT / document
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert missing == []


def test_readme_lines_install_the_torch_that_setup_allows():
    pins = set(re.findall(r"torch==([\d.]+)", README))
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    ((low, high),) = re.findall(r"\btorch>=([\d.]+),<([\d.]+)", setup)[:1]
    assert len(pins) == 1
    assert _version(low) <= _version(pins.pop()) < _version(high)


def _version(text):
    return tuple(int(part) for part in text.split("."))


def test_changelog_has_this_version():
    assert re.search(rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("folder", ["streamderain", "streamderain/cli", "core", "trainers"])
def test_design_lists_every_file(folder):
    files = [path.name for path in (ROOT / folder).glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    assert [name for name in files if f"| `{name}` |" not in DESIGN] == []


def test_design_lists_no_file_that_is_gone():
    listed = set(re.findall(r"^\| `(\w+\.py)` \|", DESIGN, re.MULTILINE))
    there = {path.name for folder in ("streamderain", "core", "trainers") for path in (ROOT / folder).rglob("*.py")}
    assert listed - there == set()


def test_licence_is_the_whole_apache_licence():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability" in text
    assert "END OF TERMS AND CONDITIONS" in text
