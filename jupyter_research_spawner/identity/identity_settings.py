"""What a site says about who people are: names, sources, checks, and how long an answer holds."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, StrictInt

from ..settings import ByName, Duration, Settings
from .checks import Checks
from .sources import AnyOptions
from .username import Username


class Cache(Settings):
    """How long an answer is used again.  An older one never is, whatever is down."""

    found: Duration = Field(timedelta(seconds=300), title="For a person who was found", examples=["300s"])
    unknown: Duration = Field(timedelta(seconds=30), title="For a name that no source knows", examples=["30s"])
    failed: Duration = Field(
        timedelta(seconds=2),
        title="For a refused account or a source that is down",
        description="Only so that a class that starts together does not ask a broken source once per click.",
        examples=["2s"],
    )
    size: StrictInt = Field(10_000, ge=1, title="Most names that are remembered", examples=[10000])


class IdentitySettings(Settings):
    """Who people are to the file systems."""

    username: Username = Field(
        default_factory=Username,
        title="From the hub's user names to POSIX names",
        examples=[{"lower": True, "strip_domain": "example.edu"}],
    )
    sources: ByName[AnyOptions] = Field(
        title="Where identities come from",
        description=(
            "All are asked. The first by `order` that knows a name wins whole; two that give it different uids, "
            "or one that is down, mean that nobody of that name can start."
        ),
        min_length=1,
        examples=[{"people": {"kind": "static", "passwd": "people.passwd", "group": "people.group", "order": 10}}],
    )
    checks: Checks = Field(default_factory=Checks, title="What nobody may be", examples=[{"minimum_gid": 1000}])
    cache: Cache = Field(default_factory=Cache, title="How long answers hold", examples=[{"found": "60s"}])
    resolve_limit: Duration = Field(
        timedelta(seconds=10), title="How long all sources together may take", examples=["10s"]
    )
