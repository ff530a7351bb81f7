"""A directory of accounts in two files, which a test edits as administrators do while jobs exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_research_spawner.site import Site

LOCKED = "Your account is locked: its login shell is '/sbin/nologin'."


@dataclass
class Directory:
    """The files passwd and group.  Each person's shell is /bin/bash at first."""

    passwd: Path
    group: Path

    @classmethod
    def write(cls, where: Path, passwd: str, group: str) -> Directory:
        made = cls(where / "people.passwd", where / "people.group")
        made.passwd.write_text(passwd)
        made.group.write_text(group)
        return made

    def settings(self) -> dict[str, Any]:
        """Return the settings of the source `people` that reads them."""
        return {"kind": "static", "passwd": str(self.passwd), "group": str(self.group)}

    def used_by(self, site: Site) -> Site:
        """Return the site with this directory as its only source."""
        written = site.model_dump(mode="json", by_alias=True, exclude_unset=True)
        written["identity"]["sources"] = {"people": self.settings()}
        return Site.model_validate(written)

    def lock(self, person: str) -> None:
        self._edit(self.passwd, f":/home/{person}:/bin/bash", f":/home/{person}:/sbin/nologin")

    def unlock(self, person: str) -> None:
        self._edit(self.passwd, f":/home/{person}:/sbin/nologin", f":/home/{person}:/bin/bash")

    def alice_leaves_climate(self) -> None:
        self._edit(self.group, "climate:x:20500:alice", "climate:x:20500:")

    def alice_joins_climate_again(self) -> None:
        self._edit(self.group, "climate:x:20500:", "climate:x:20500:alice")

    def _edit(self, path: Path, before: str, after: str) -> None:
        text = path.read_text()
        assert before in text
        # Replaced as a whole, like a file of a ConfigMap.
        new = path.with_suffix(".new")
        new.write_text(text.replace(before, after))
        new.replace(path)
