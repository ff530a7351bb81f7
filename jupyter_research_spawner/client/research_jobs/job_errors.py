"""What can go wrong between a notebook and the batch service, as sentences: what, why, what would work."""

from __future__ import annotations


class JobsError(Exception):
    """One sentence or two for the person.  `exit_code` is what the command `job` then exits with."""

    exit_code = 1
    retry_after: int | None = None  # seconds


class NotReady(JobsError):
    """The service cannot be reached from here, or says that it is not ready."""

    exit_code = 3

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(JobsError):
    """The service says no, and why: its error body, field by field.  `retry_after` is in seconds."""

    def __init__(
        self,
        code: str,
        field: str | None,
        message: str,
        hint: str = "",
        status: int = 400,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code = code
        self.field = field
        self.message = message
        self.hint = hint
        self.status = status
        self.retry_after = retry_after
        self.exit_code = NotReady.exit_code if status == 503 else JobsError.exit_code
