""".ci/run with stand-ins for Python and pip: it runs the README's own line, and fails when any step fails."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def run_ci(folder, stand_in):
    """Run a copy of .ci/run in which every tool of the fresh environment is the given script."""
    for name in ("README.md", ".ci/run"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    tools = folder / "tools"
    tools.mkdir()
    venv = f'{stand_in}mkdir -p "$3/bin" && cp "{tools}/tool" "$3/bin/python" && cp "{tools}/tool" "$3/bin/pip"\n'
    for name, script in (("tool", stand_in), ("python3", venv), ("apt-get", "exit 0")):  # so that it installs nothing
        (tools / name).write_text(f"#!/bin/bash\n{script}")
        (tools / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(folder)}
    return subprocess.run(["bash", folder / ".ci" / "run"], env=environment, capture_output=True, text=True)


def test_ci_runs_the_line_of_the_readme(tmp_path):
    done = run_ci(tmp_path, f'echo "${{0##*/}} $*" >>"{tmp_path}/calls"\n')
    assert done.returncode == 0, done.stdout + done.stderr
    calls = re.sub(r" \S*/venv$", " .venv", (tmp_path / "calls").read_text(), flags=re.MULTILINE).splitlines()
    (line,) = re.findall(r"^python3 -m venv .* -m pytest$", README, re.MULTILINE)
    *setup, fast_tests = line.replace(".venv/bin/", "").replace("'", "").split(" && ")
    assert calls[: len(setup)] == setup
    assert calls.index(fast_tests) < calls.index("python -m pytest -m slow and not gpu")


@pytest.mark.parametrize("step", ["torch==", r"\[dev,live\]", "ruff", "check_wheel", "mypy", "-m pytest$", "slow"])
def test_ci_fails_when_a_step_fails(tmp_path, step):
    done = run_ci(tmp_path, f'! grep -qE -- "{step}" <<<"$*" || exit 1\n')
    assert done.returncode == 1
    assert "all passed" not in done.stdout


def test_ci_leaves_nothing_behind(tmp_path):
    run_ci(tmp_path, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ci", "README.md", "tools"]
