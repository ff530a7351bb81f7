"""The settings below `identity`: user names, sources, checks and cache times."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, StrictInt

from ..settings import ByName, Duration, Settings
from .checks import Checks
from .sources import SOURCES, AnyOptions
from .username import Username


class Cache(Settings):
    """How long the results of sources are cached.  An older result is never used, even while a source is down."""

    found: Duration = Field(timedelta(seconds=300), title="How long a user who was found is cached", examples=["300s"])
    unknown: Duration = Field(
        timedelta(seconds=30), title="How long a user whom no source has is cached as unknown", examples=["30s"]
    )
    reload: Duration = Field(
        timedelta(seconds=10),
        title="Maximum age of a cached result when the form is reloaded, and before a refusal",
        description="So a user who was just added to a group can soon try again. For each user, the sources are "
        "asked at most once in this time.",
        examples=["10s"],
    )
    failed: Duration = Field(
        timedelta(seconds=2),
        title="How long a refused account or the failure of a source is cached",
        description="A short time is enough to protect a broken source when a whole class starts servers together.",
        examples=["2s"],
    )
    uids: Duration = Field(
        timedelta(hours=24),
        title="How long a uid stays with its user",
        description="This time starts again at each lookup of the user. Until it has passed, the user is refused with "
        "another uid, and another user is refused with this uid. `research-spawner accept-uid` lets a planned change "
        "take effect at once.",
        examples=["24h"],
    )
    size: StrictInt = Field(10_000, ge=1, title="Maximum number of cached users", examples=[10000])


class IdentitySettings(Settings):
    """The sources of the users' POSIX identities, with the checks and the cache times."""

    username: Username = Field(
        default_factory=Username,
        title="Translation of hub user names to POSIX user names",
        examples=[{"lower": True, "strip_domain": "example.edu"}],
    )
    sources: ByName[AnyOptions] = Field(
        title="Identity sources",
        description=(
            "The hub asks all sources for each user. The account of the source with the lowest `order` is used. If two "
            "sources have different uids for a user, or if one source is down, the user cannot start anything."
        ),
        min_length=1,
        examples=[{kind: dict(source.EXAMPLE) for kind, source in SOURCES.items()}],
    )
    checks: Checks = Field(default_factory=Checks, title="Checks of accounts", examples=[{"minimum_gid": 1000}])
    cache: Cache = Field(default_factory=Cache, title="Cache times", examples=[{"found": "60s"}])
    resolve_limit: Duration = Field(
        timedelta(seconds=10), title="Time limit for all sources together", examples=["10s"]
    )
