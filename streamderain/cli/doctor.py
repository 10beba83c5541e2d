"""`streamderain doctor`: what works on this machine, one line each, and what to do about the rest."""
from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from streamderain.cli.text import one_line
from streamderain.diagnosis import Finding, works
from streamderain.probes import examine

COLOURS = {"ok": "green", "missing": "yellow", "broken": "red"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
def command(as_json: bool) -> None:
    """Say what works on this machine, one line each, and what to do about the rest.

    The exit code is 1 if something is broken that nothing works without; what is only missing is no error.
    """
    findings: list[Finding] = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            click.echo(_line(finding))
    healthy = works(findings)
    if as_json:
        click.echo(json.dumps({"works": healthy, "findings": [asdict(finding) for finding in findings]}, indent=1))
    sys.exit(0 if healthy else 1)


def _line(finding: Finding) -> str:
    status = click.style(f"{finding.status:8}", COLOURS[finding.status])
    advice = f"; {finding.advice}" if finding.advice else ""
    return f"{finding.area:9} {finding.name:14} {status} {one_line(finding.detail + advice)}"
