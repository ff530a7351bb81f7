"""The exceptions of this package.  Each message says what failed, why, and what to do."""

from __future__ import annotations


class JobsError(Exception):
    """An error with a message for the user.  `exit_code` is the exit code of the command `job`."""

    exit_code = 1
    retry_after: int | None = None  # seconds


class NotReady(JobsError):
    """The service cannot be reached, or says that it is not ready."""

    exit_code = 3

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(JobsError):
    """The service refused a request.  The attributes are the fields of the JSON error; `retry_after` is in seconds."""

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
