"""References to secrets.  Settings contain only references, never a secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from .strict import Settings


class Secret(Settings):
    """A reference to a secret: either `{env: NAME}` or `{file: PATH}`.

    A relative path is relative to the directory of the settings, which the caller passes to `read`.
    """

    env: str | None = Field(None, title="Environment variable with the secret", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    file: Path | None = Field(
        None,
        title="File with the secret",
        description="A relative path is relative to the directory of the settings.",
        examples=["/etc/secrets/bind"],
    )

    @model_validator(mode="before")
    @classmethod
    def _no_literal(cls, value: Any) -> Any:
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            # The value is not repeated, because it may be a real secret.
            raise ValueError("must not contain the secret itself. Use {env: NAME} or {file: /path/to/file}")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Secret:
        if (self.env is None) == (self.file is None):
            raise ValueError("must have exactly one of env and file: {env: NAME} or {file: /path/to/file}")
        return self

    def read(self, base: Path) -> str:
        """Return the secret, without a trailing newline.  A relative path is relative to `base`.

        Raises ValueError with a message that never contains the secret.
        """
        place, secret = self._found(base)
        secret = secret.rstrip("\n")
        if not secret:
            raise ValueError(f"{place} is empty")
        return secret

    def _found(self, base: Path) -> tuple[str, str]:
        if self.env is not None:
            if self.env not in os.environ:
                raise ValueError(f"the environment variable {self.env} is not set")
            return f"the environment variable {self.env}", os.environ[self.env]
        assert self.file is not None
        path = base / self.file
        try:
            return str(path), path.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{path} is not UTF-8 text") from None
