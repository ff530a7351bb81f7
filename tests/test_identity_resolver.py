"""From a hub user to an identity: several sources, what refuses, what is remembered and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from jupyter_research_spawner.identity import AcceptedUid, Group, IdentitySettings, PosixIdentity, Resolver, nss
from jupyter_research_spawner.identity.accepted_uid import accepted_uids
from jupyter_research_spawner.identity.lookup import Lookup
from jupyter_research_spawner.identity.source_interface import Account, InvalidAccount, SourceDown
from jupyter_research_spawner.identity.sources import SOURCES
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings import Settings, SettingsError

ALICE = Account("alice", 20001, 20001, ((20001, "alice"), (20500, "climate")), "/home/alice", "/bin/bash")
BOB = Account("bob", 20002, 20002, ((20002, "bob"),), "/home/bob", "/bin/bash")
CAROL = Account("carol", 20003, 20003, ((20003, "carol"),), "/home/carol", "/bin/bash")
GROUPS = (Group(20001, "alice"), Group(20500, "climate"))
ALICE_FROM_PEOPLE = PosixIdentity("alice", 20001, 20001, GROUPS, "/home/alice", "/bin/bash", "people")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fake:
    """A source in memory that counts, waits and fails as it is told."""

    accounts: dict[str, Account] = field(default_factory=dict)
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    asked: list[str] = field(default_factory=list)

    async def lookup(self, name: str) -> Account | None:
        self.asked.append(name)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.accounts.get(name)

    async def gids(self, groups: Sequence[str]) -> Mapping[str, int]:
        if self.failure is not None:
            raise self.failure
        known = {name: gid for account in self.accounts.values() for gid, name in account.groups if name}
        return {group: known[group] for group in groups if group in known}


def knowing(*accounts: Account) -> Fake:
    return Fake({account.name: account for account in accounts})


def resolver(people: Fake, *others: Fake, clock: Callable[[], float] | None = None, **settings: Any) -> Resolver:
    """One whose sources are `people`, then `others`."""
    given = IdentitySettings.model_validate({"sources": {"people": {"kind": "nss"}}, **settings})
    made = Resolver(given, clock=clock or Clock())
    made._lookup = Lookup(
        given, [("people", people), *((f"other{index}", other) for index, other in enumerate(others))]
    )
    return made


async def refusal(made: Resolver, hub_name: str) -> Refusal:
    with pytest.raises(Refusal) as raised:
        await made.resolve(hub_name)
    return raised.value


async def test_the_first_source_that_knows_the_name_wins_whole() -> None:
    other = replace(ALICE, gid=20002, groups=((20600, "students"),), home="/elsewhere")
    assert await resolver(knowing(ALICE), knowing(other)).resolve("alice") == ALICE_FROM_PEOPLE
    assert await resolver(Fake(), knowing(ALICE)).resolve("alice") == replace(ALICE_FROM_PEOPLE, source="other0")


async def test_all_sources_are_asked_at_the_same_time() -> None:
    gate = asyncio.Event()
    people, other = knowing(ALICE), Fake()
    people.gate = other.gate = gate
    resolving = asyncio.create_task(resolver(people, other).resolve("alice"))
    await asyncio.sleep(0.01)
    assert (people.asked, other.asked) == (["alice"], ["alice"])
    gate.set()
    assert await resolving == ALICE_FROM_PEOPLE


async def test_nobody_knows_the_name() -> None:
    refused = await refusal(resolver(knowing(ALICE), Fake()), "bob")
    assert (refused.code, refused.status, refused.field) == ("unknown-person", 403, "name")
    assert refused.message == "There is no account named 'bob'."


async def test_two_uids_for_one_name(caplog: pytest.LogCaptureFixture) -> None:
    refused = await refusal(resolver(knowing(ALICE), knowing(replace(ALICE, uid=20009))), "alice")
    assert (refused.code, refused.status) == ("ambiguous-person", 403)
    assert "people has uid 20001, other0 has uid 20009" in caplog.text
    assert "20009" not in str(refused)


async def test_an_account_that_is_not_sound() -> None:
    refused = await refusal(resolver(knowing(replace(ALICE, uid=0))), "alice")
    assert (refused.code, refused.status, refused.field) == ("invalid-identity", 403, "uid")


@pytest.mark.parametrize("failure", [SourceDown("ldap://ldap1 refused the connection"), RuntimeError("a bug")])
@pytest.mark.parametrize("others_know", [True, False])
async def test_one_source_down_and_nobody_is_resolved(
    failure: Exception, others_know: bool, caplog: pytest.LogCaptureFixture
) -> None:
    people = knowing(ALICE) if others_know else Fake()
    refused = await refusal(resolver(people, Fake(failure=failure)), "alice")
    assert (refused.code, refused.status, refused.retry_after) == ("source-down", 503, 10)
    assert refused.__cause__ is failure
    assert str(failure) in caplog.text
    assert "ldap1" not in str(refused)  # the host is for the admins


async def test_sources_that_never_answer_are_down() -> None:
    silent = Fake(gate=asyncio.Event())
    refused = await refusal(resolver(knowing(ALICE), silent, resolve_limit="1s"), "alice")
    assert (refused.code, refused.status) == ("source-down", 503)


async def test_an_account_whose_entry_is_invalid_is_refused_alone(caplog: pytest.LogCaptureFixture) -> None:
    people = knowing(ALICE, BOB)
    made = resolver(people, Fake())
    people.failure = InvalidAccount("the users 'm1' and 'm2' have the same uid 30001")
    refused = await refusal(made, "m1")
    assert (refused.code, refused.status, refused.field) == ("invalid-identity", 403, "name")
    assert refused.message == (
        "The entry of your account 'm1' is not valid: the users 'm1' and 'm2' have the same uid 30001."
    )
    assert "Identity source people: the account 'm1' is invalid" in caplog.text
    people.failure = None
    assert await made.resolve("alice") == ALICE_FROM_PEOPLE


async def test_a_source_cannot_claim_ids_outside_its_ranges(caplog: pytest.LogCaptureFixture) -> None:
    mallory = Account("mallory", 20001, 50001, ((50001, "guests"),), "/home/mallory", "/bin/bash")
    guests = {"kind": "nss", "uid_range": {"first": 50000, "last": 59999}, "gid_range": {"first": 50000, "last": 59999}}
    sources = {"people": {"kind": "nss"}, "other0": guests}
    other = knowing(mallory, replace(ALICE, uid=20009))
    made = resolver(knowing(ALICE), other, sources=sources)
    refused = await refusal(made, "mallory")
    assert (refused.code, refused.field) == ("invalid-identity", "uid")
    assert "its uid 20001 is outside the range of uids of its directory" in refused.message
    assert await made.resolve("alice") == ALICE_FROM_PEOPLE  # whose uid mallory did not take
    assert "Identity source other0: the account 'alice' is ignored: its uid 20009" in caplog.text
    other.accounts["mallory"] = replace(mallory, uid=50001, groups=((31337, "climate"),))
    made = resolver(knowing(ALICE), other, sources=sources)
    assert "its gid 31337 is outside the range of gids" in (await refusal(made, "mallory")).message


async def test_a_group_belongs_to_the_first_source_that_has_it() -> None:
    mallory = Account("mallory", 50001, 50001, ((31337, "climate"), (50001, "guests")), "/home/mallory", "/bin/bash")
    made = resolver(knowing(ALICE), knowing(mallory))
    identity = await made.resolve("mallory")
    assert identity.groups == (Group(50001, "guests"),)
    assert identity.left_out == (("climate", "its gid is 31337 in source 'other0' and 20500 in source 'people'"),)
    primary = replace(mallory, gid=31337)
    refused = await refusal(resolver(knowing(ALICE), knowing(primary)), "mallory")
    assert (refused.code, refused.field) == ("invalid-identity", "gid")
    # The first source is right whatever a later one has.
    made = resolver(knowing(ALICE), knowing(replace(mallory, groups=((31337, "climate"),))))
    assert await made.resolve("alice") == ALICE_FROM_PEOPLE
    people = knowing(ALICE)
    people.failure = SourceDown("gone")
    assert (await refusal(resolver(people, knowing(mallory)), "mallory")).status == 503


async def test_an_answer_is_used_again_and_never_when_it_is_too_old() -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock)
    await made.resolve("alice")
    people.failure = SourceDown("gone")
    clock.now += 299.9
    assert await made.resolve("alice") == ALICE_FROM_PEOPLE
    assert people.asked == ["alice"]
    clock.now += 0.2
    assert (await refusal(made, "alice")).code == "source-down"


async def test_a_caller_can_ask_for_a_younger_answer() -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock)
    await made.resolve("alice")
    clock.now += 59
    await made.resolve("alice", max_age=60)
    assert people.asked == ["alice"]
    clock.now += 2
    await made.resolve("alice", max_age=60)
    await made.resolve("alice", max_age=60)
    assert people.asked == ["alice", "alice"]
    # The younger answer is for everybody.
    clock.now += 59
    await made.resolve("alice")
    assert people.asked == ["alice", "alice"]


@pytest.mark.parametrize(
    ("people", "seconds"),
    [(Fake(), 30), (Fake(failure=SourceDown("gone")), 2), (knowing(replace(ALICE, uid=0)), 2)],
)
async def test_refusals_hold_shortly(people: Fake, seconds: float) -> None:
    clock = Clock()
    made = resolver(people, clock=clock)
    first, again = await refusal(made, "alice"), await refusal(made, "alice")
    assert first == again
    assert first is not again  # or tracebacks would pile up in it
    assert people.asked == ["alice"]
    people.accounts, people.failure = {"alice": ALICE}, None
    clock.now += seconds - 0.1
    await refusal(made, "alice")
    clock.now += 0.2
    assert await made.resolve("alice") == ALICE_FROM_PEOPLE


async def test_the_age_counts_from_the_question() -> None:
    clock, people = Clock(), knowing(ALICE)
    people.gate = asyncio.Event()
    made = resolver(people, clock=clock)
    resolving = asyncio.create_task(made.resolve("alice"))
    await asyncio.sleep(0.01)
    clock.now += 299
    people.gate.set()
    await resolving
    assert await made.resolve("alice") == ALICE_FROM_PEOPLE
    assert people.asked == ["alice"]
    clock.now += 2
    await made.resolve("alice")
    assert people.asked == ["alice", "alice"]


async def test_times_are_the_sites() -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock, cache={"found": "1m"})
    await made.resolve("alice")
    clock.now += 61
    await made.resolve("alice")
    assert people.asked == ["alice", "alice"]


async def test_many_callers_one_question() -> None:
    people = knowing(ALICE)
    people.gate = asyncio.Event()
    made = resolver(people)
    callers = [asyncio.create_task(made.resolve("alice")) for _ in range(50)]
    await asyncio.sleep(0.01)
    callers[0].cancel()  # the first one's patience is not the others'
    people.gate.set()
    answers = await asyncio.gather(*callers[1:])
    assert answers == [ALICE_FROM_PEOPLE] * 49
    assert people.asked == ["alice"]


async def test_the_cache_has_a_size() -> None:
    people = knowing(ALICE, BOB, CAROL)
    made = resolver(people, cache={"size": 2})
    for name in ("alice", "bob", "carol", "nobody1", "nobody2", "carol"):
        with pytest.raises(Refusal) if name.startswith("nobody") else nullcontext():
            await made.resolve(name)
    assert len(made._answers) == 2
    assert people.asked == ["alice", "bob", "carol", "nobody1", "nobody2", "carol"]


async def test_an_account_that_becomes_another_one_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock)
    await made.resolve("alice")
    people.accounts["alice"] = replace(ALICE, uid=20009)
    for _ in range(3):
        clock.now += 301
        refused = await refusal(made, "alice")
        assert (refused.code, refused.status, refused.field) == ("uid-changed", 403, "uid")
    assert "had uid 20001 and now has uid 20009" in caplog.text


async def test_an_account_that_was_away_is_not_forgotten() -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock)
    await made.resolve("alice")
    clock.now += 301
    del people.accounts["alice"]
    assert (await refusal(made, "alice")).code == "unknown-person"
    clock.now += 31
    people.accounts["alice"] = replace(ALICE, uid=20009)
    assert (await refusal(made, "alice")).code == "uid-changed"


async def test_a_second_hub_name_for_one_account_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    made = resolver(knowing(ALICE), username={"lower": True, "strip_domain": "example.edu"})
    assert await made.resolve("alice@example.edu") == ALICE_FROM_PEOPLE
    for second in ("alice", "Alice@example.edu"):
        refused = await refusal(made, second)
        assert (refused.code, refused.status) == ("uid-taken", 403)
        assert "example.edu" not in str(refused)
    assert "'alice@example.edu' and 'alice' are both uid 20001" in caplog.text
    assert await made.resolve("alice@example.edu") == ALICE_FROM_PEOPLE


async def test_a_second_name_with_the_same_uid_is_refused() -> None:
    made = resolver(knowing(ALICE, replace(BOB, uid=20001)))
    await made.resolve("alice")
    assert (await refusal(made, "bob")).code == "uid-taken"


def accepting(made: Resolver, **entries: tuple[str, int]) -> list[str]:
    """Let an administrator have accepted these (hub user, uid) by POSIX name.  Returns the names that are asked for."""
    asked: list[str] = []

    async def accepted(name: str) -> AcceptedUid | None:
        asked.append(name)
        return AcceptedUid(*entries[name], at=datetime.now(timezone.utc)) if name in entries else None

    made.accepted = accepted
    return asked


async def test_changed_uid_is_accepted_as_an_administrator_says(caplog: pytest.LogCaptureFixture) -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock)
    asked = accepting(made, alice=("alice", 20009))
    await made.resolve("alice")
    people.accounts["alice"] = replace(ALICE, uid=20010)
    clock.now += 301
    assert (await refusal(made, "alice")).code == "uid-changed"
    assert "research-spawner accept-uid --user 'alice' --uid 20010" in caplog.text
    people.accounts["alice"] = replace(ALICE, uid=20009)
    clock.now += 301
    assert (await made.resolve("alice")).uid == 20009
    assert "The hub user 'alice' is uid 20009 from now on, as an administrator has accepted" in caplog.text
    # The old uid is free for its new owner, and no longer for alice.
    people.accounts["bob"] = replace(BOB, uid=20001)
    assert (await made.resolve("bob")).uid == 20001
    people.accounts["alice"] = ALICE
    clock.now += 301
    assert (await refusal(made, "alice")).code == "uid-changed"
    assert asked == ["alice", "alice", "alice"]  # only before a refusal


async def test_renamed_account_is_accepted_and_the_old_name_no_longer() -> None:
    renamed = replace(ALICE, name="alicia", groups=((20001, "alicia"),))
    people = knowing(ALICE, renamed)
    made = resolver(people)
    accepting(made, alicia=("alicia", 20001))
    await made.resolve("alice")
    assert (await made.resolve("alicia")).uid == 20001
    assert (await refusal(made, "alice")).code == "uid-taken"
    assert (await made.resolve("alicia")).uid == 20001


async def test_acceptance_is_for_one_hub_user() -> None:
    """Two hub users can have one POSIX name: accepting one of them does not accept the other."""
    made = resolver(knowing(ALICE), username={"strip_domain": {"example.edu": True, "example.org": True}})
    accepting(made, alice=("alice@example.org", 20001))
    await made.resolve("alice@example.edu")
    assert (await made.resolve("alice@example.org")).uid == 20001
    assert (await refusal(made, "alice@example.edu")).code == "uid-taken"


def test_entries_that_are_old_or_not_valid_accept_nothing() -> None:
    now = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
    good = AcceptedUid("alice@example.edu", 20001, now - timedelta(hours=23))
    wrong = {
        "old": str(replace(good, at=now - timedelta(hours=24))),
        "future": str(replace(good, at=now + timedelta(seconds=1))),
        "text": "20001",
        "list": "[]",
        "uid": '{"hub_user": "alice", "uid": "20001", "at": "2026-11-28T11:00:00+00:00"}',
        "bool": '{"hub_user": "alice", "uid": true, "at": "2026-11-28T11:00:00+00:00"}',
        "day": '{"hub_user": "alice", "uid": 20001, "at": "2026-11-28"}',
        "name": '{"uid": 20001, "at": "2026-11-28T11:00:00+00:00"}',
        "nothing": None,
    }
    assert accepted_uids({"alice": str(good), **wrong}, now, timedelta(hours=24)) == {"alice": good}


async def test_reload_asks_again_but_not_more_often_than_its_time() -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock, cache={"reload": "10s"})
    await made.resolve("alice")
    for _ in range(20):
        clock.now += 1
        await made.reload("alice")
    assert len(people.asked) == 3
    people.accounts["alice"] = replace(ALICE, groups=((20001, "alice"),))
    assert len((await made.resolve("alice")).groups) == 2
    clock.now += 10
    assert len((await made.reload("alice")).groups) == 1
    assert len((await made.resolve("alice")).groups) == 1


async def test_reload_while_a_source_is_down_changes_nothing() -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock)
    await made.resolve("alice")
    people.failure = SourceDown("no route")
    for _ in range(20):
        clock.now += 1
        assert await made.reload("alice") == ALICE_FROM_PEOPLE
    assert len(people.asked) == 3
    clock.now += 280  # now the answer is as old as `found`, although it was asked for in between
    assert (await refusal(made, "alice")).code == "source-down"


async def test_refusal_is_decided_again_with_new_groups_once_in_a_while() -> None:
    clock, people = Clock(), knowing(replace(ALICE, groups=((20001, "alice"),)))
    made = resolver(people, clock=clock)

    def needs_climate(identity: PosixIdentity) -> str:
        if "climate" not in identity.group_names:
            raise Refusal("queue-not-yours", "No.", status=403)
        return "yes"

    with pytest.raises(Refusal):
        await made.decide("alice", needs_climate)
    people.accounts["alice"] = ALICE
    for _ in range(9):
        clock.now += 1
        with pytest.raises(Refusal):
            await made.decide("alice", needs_climate)
    assert len(people.asked) == 1
    clock.now += 1
    assert await made.decide("alice", needs_climate) == "yes"
    assert len(people.asked) == 2


async def test_account_that_was_just_made_is_found_at_the_second_try() -> None:
    clock, people = Clock(), Fake()
    made = resolver(people, clock=clock)
    assert (await refusal(made, "alice")).code == "unknown-person"
    people.accounts["alice"] = ALICE
    clock.now += 11
    assert await made.decide("alice", lambda identity: identity) == ALICE_FROM_PEOPLE


async def test_other_refusals_ask_nothing_again() -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock)
    await made.resolve("alice")
    clock.now += 100

    def invalid(_: PosixIdentity) -> None:
        raise Refusal("unknown-profile", "No.", status=400)

    with pytest.raises(Refusal, match="No"):
        await made.decide("alice", invalid)
    assert people.asked == ["alice"]


async def test_long_and_odd_names_reach_neither_sources_nor_logs_whole(caplog: pytest.LogCaptureFixture) -> None:
    people = Fake()
    made = resolver(people)
    for hub_name in ("a" * 10**6, "alice\nERROR forged", "\ud800"):
        refused = await refusal(made, hub_name)
        assert (refused.code, refused.field) == ("invalid-identity", "name")
        assert len(refused.message) < 300
        assert "\n" not in refused.message
    assert people.asked == []
    assert len(caplog.text) < 1000


KINDS = ", ".join(sorted(SOURCES))
DESIGN = """
username: {lower: true, strip_domain: example.edu}
sources:
  people: {kind: static, passwd: people.passwd, group: people.group, order: 10}
  local: {kind: nss, order: 20}
"""


async def test_a_site_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "people.passwd").write_text("carol:x:20003:20003::/home/carol:/bin/bash\n")
    (tmp_path / "people.group").write_text("carol:x:20003:\nclimate:x:20500:carol\n")
    monkeypatch.setattr(nss, "_in_container", lambda: False)
    made = Resolver(IdentitySettings.model_validate(yaml.safe_load(DESIGN)), base=tmp_path)
    monkeypatch.chdir("/")
    identity = await made.resolve("Carol@example.edu")
    groups = (Group(20003, "carol"), Group(20500, "climate"))
    assert identity == PosixIdentity("carol", 20003, 20003, groups, "/home/carol", "/bin/bash", "people")
    assert (await refusal(made, "root")).field == "uid"  # this machine knows root
    (tmp_path / "people.group").unlink()
    assert (await refusal(made, "daemon")).status == 503


def test_relative_paths_start_where_the_process_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "people.passwd").write_text("alice:x:20001:20001::/home/alice:/bin/bash\n")
    (tmp_path / "people.group").write_text("alice:x:20001:\n")
    sources = {"people": {"kind": "static", "passwd": "people.passwd", "group": "people.group"}}
    monkeypatch.chdir(tmp_path)
    made = Resolver(IdentitySettings.model_validate({"sources": sources}))
    monkeypatch.chdir("/")
    assert asyncio.run(made.resolve("alice")).uid == 20001


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"sources": {"people": {"kind": "ldpa"}}},
            f"sources.people: kind is missing or unknown. Allowed kinds of sources: {KINDS}",
        ),
        ({"sources": {"people": {}}}, f"sources.people: kind is missing or unknown. Allowed kinds of sources: {KINDS}"),
        (
            {"sources": {"people": {"kind": ["nss"]}}},
            f"sources.people: kind is missing or unknown. Allowed kinds of sources: {KINDS}",
        ),
        (
            {"sources": {"local": {"kind": "nss", "ordr": 1}}},
            "sources.local.ordr: there is no such setting. Did you mean 'order'?",
        ),
        (
            {"sources": {"local": {"kind": "nss", "lookup_limit": 5}}},
            "sources.local.lookup_limit: 5 has no unit. Write 5s",
        ),
        ({"sources": {"local": {"kind": "nss", "order": "1"}}}, "sources.local.order: must be a whole number, not '1'"),
        ({"sources": {}}, "sources: "),
        ({}, "sources: is missing"),
        ({"sources": {"local": {"kind": "nss"}}, "username": {"lower": "yes"}}, "username.lower: "),
        ({"sources": {"local": {"kind": "nss"}}, "cache": {"stale": "1h"}}, "cache.stale: there is no such setting"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValidationError) as error:
        IdentitySettings.model_validate(settings)
    assert str(SettingsError.of(error.value, IdentitySettings)).startswith(line)


def models(base: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for model in base.__subclasses__():
        yield model
        yield from models(model)


def test_every_setting_explains_itself() -> None:
    ours = [model for model in models() if ".identity." in model.__module__]
    assert IdentitySettings in ours
    for model in ours:
        assert model.__doc__, model
        for name, setting in model.model_fields.items():
            assert setting.title, f"{model.__name__}.{name}"
            assert setting.description or setting.examples or name == "kind", f"{model.__name__}.{name}"


def test_the_schema_has_every_kind_of_source() -> None:
    schema = IdentitySettings.model_json_schema()
    (sources,) = schema["properties"]["sources"]["patternProperties"].values()
    kinds = [schema["$defs"][option["$ref"].rpartition("/")[2]]["properties"]["kind"] for option in sources["oneOf"]]
    assert [kind["const"] for kind in kinds] == list(SOURCES)


numbers = st.integers() | st.sampled_from([0, 1000, 20001, 65534])
names = st.text(st.characters()) | st.sampled_from(["alice", "bob", "Alice", "climate", "/home/alice", "/bin/sh"])
accounts = st.builds(
    Account, names, numbers, numbers, st.lists(st.tuples(numbers, st.none() | names)).map(tuple), names, names
)


@given(hub_names=st.lists(names, min_size=1), first=st.none() | accounts, second=st.none() | accounts)
def test_whatever_sources_say_it_is_an_identity_or_a_refusal(
    hub_names: list[str], first: Account | None, second: Account | None
) -> None:
    @dataclass
    class Always:
        account: Account | None

        async def lookup(self, name: str) -> Account | None:
            return self.account

    async def resolve_all() -> None:
        made = resolver(Fake(), username={"lower": True})
        made._sources = [("first", Always(first)), ("second", Always(second))]
        uids: dict[int, str] = {}
        for hub_name in hub_names:
            try:
                identity = await made.resolve(hub_name)
            except Refusal:
                continue
            assert uids.setdefault(identity.uid, hub_name) == hub_name

    asyncio.run(resolve_all())


async def test_planned_change_of_a_uid_has_an_effect_after_a_time() -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock, cache={"uids": "2h"})
    await made.resolve("alice")
    people.accounts["alice"] = replace(ALICE, uid=20009)
    clock.now += 7000
    assert (await refusal(made, "alice")).code == "uid-changed"
    clock.now += 300  # a refusal does not make it last longer
    assert (await made.resolve("alice")).uid == 20009
    people.accounts["alice"] = ALICE
    clock.now += 7000
    assert (await refusal(made, "alice")).code == "uid-changed"


async def test_renamed_account_can_be_used_after_a_time_and_a_used_one_never() -> None:
    clock, people = Clock(), knowing(ALICE)
    made = resolver(people, clock=clock, cache={"uids": "2h"})
    await made.resolve("alice")
    people.accounts["alicia"] = replace(ALICE, name="alicia")
    for _ in range(3):
        clock.now += 7000
        assert (await made.resolve("alice")).uid == ALICE.uid
        assert (await refusal(made, "alicia")).code == "uid-taken"
    del people.accounts["alice"]
    clock.now += 7300
    assert (await made.resolve("alicia")).uid == ALICE.uid
