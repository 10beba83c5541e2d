"""Inputs one after the other through one network, with what is told and noted about each."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamderain.cli.interrupt import Interruptions
from streamderain.cli.progress import Progress
from streamderain.cli.text import sentence
from streamderain.errors import DerainError
from streamderain.report import Report

if TYPE_CHECKING:
    from streamderain.derain_file import FileJob
    from streamderain.derainer import Derainer


class Batch:
    """Runs every input; the network is loaded when the first of them is ready for it.

    Args:
        reports: one per input, which name it and its output; filled by `run`.
        network: arguments of the Derainer.
        options: arguments of FileOptions; None means its default.
        progress: where to tell what happens.

    Attributes:
        exit_code: the highest of the inputs that failed while others went on, else 0.
    """

    def __init__(
        self, reports: list[Report], network: dict[str, Any], options: dict[str, Any], progress: Progress
    ) -> None:
        self.reports = reports
        self.exit_code = 0
        self._network, self._options, self._progress = network, options, progress
        self._loaded: Derainer | None = None
        self._current = reports[0]

    def run(self, interruptions: Interruptions) -> None:
        """Do them all, or until interrupted; of several, one that fails does not stop the rest.

        Raises:
            DerainError: there is only one input and it failed, or the network cannot be loaded.
        """
        from streamderain.derain_file import FileJob, FileOptions

        options = FileOptions(**{name: value for name, value in self._options.items() if value is not None})
        for report in self.reports:
            self._current = report
            try:
                job = FileJob(report.input, report.output, options, report)
            except DerainError as error:
                self._failed(error)
                continue
            with job:
                derainer = self._derainer()
                try:
                    self._one(job, derainer, interruptions)
                except DerainError as error:
                    self._failed(error)
            if interruptions.stop.is_set():
                return

    @property
    def complete(self) -> bool:
        """Every output is there and verified."""
        return all(report.complete for report in self.reports)

    def interrupted(self) -> None:
        """Note on the current input that it was interrupted, and say so."""
        self._current.error = "interrupted"
        self._progress.say(f"{self._current.input}: interrupted before the work began")

    def as_dict(self) -> dict[str, Any]:
        """The report of the one input; of several, whether all are complete and the report of each."""
        if len(self.reports) == 1:
            return self.reports[0].as_dict()
        return {"complete": self.complete, "runs": [report.as_dict() for report in self.reports]}

    def _derainer(self) -> Derainer:
        from streamderain.derainer import Derainer

        if self._loaded is None:
            try:
                self._loaded = Derainer(**self._network, tell=self._progress.say)
            except DerainError as error:
                self._current.error = str(error)
                raise
            loaded = self._loaded
            self._progress.say(
                f"profile {loaded.profile} on {loaded.device}, {loaded.backend} in {loaded.precision}"
            )
        return self._loaded

    def _one(self, job: FileJob, derainer: Derainer, interruptions: Interruptions) -> None:
        report = job.report
        told = self._tell(report, 0)
        self._progress.begin(report.input, job.total)
        try:
            with interruptions.orderly():
                job.run(derainer, on_frame=self._progress.advance, stop=interruptions.stop)
        finally:
            self._progress.end()
            self._tell(report, told)
            if report.partial is not None:
                self._progress.say(f"{report.input}: the finished part is kept as {report.partial}")
        if not report.complete:
            report.error = "interrupted"

    def _tell(self, report: Report, told: int) -> int:
        """Say the warnings after the first so many, and return how many there are."""
        for line in report.warnings[told:]:
            self._progress.say(f"{report.input}: {line}")
        return len(report.warnings)

    def _failed(self, error: DerainError) -> None:
        """Note the error; it ends the command where there is nothing else to do, and is told where there is."""
        self._current.error = str(error)
        if len(self.reports) == 1:
            raise error
        self.exit_code = max(self.exit_code, error.exit_code)
        self._progress.say(f"Error: {sentence(str(error))}")
