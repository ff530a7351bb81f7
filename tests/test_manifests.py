"""A site as cluster objects: complete, no right too many, no secret, and just what pods and hub look for."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import samples
import yaml
from kubernetes_asyncio.client import ApiClient
from samples import Json, decide, site_with

from jupyter_research_spawner.batch.app import options
from jupyter_research_spawner.client.archive import build
from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.jobs import KINDS, notebook
from jupyter_research_spawner.manifests import PARTS, Release, everything, queue_comments
from jupyter_research_spawner.pod import compose
from jupyter_research_spawner.schedulers import SCHEDULERS
from jupyter_research_spawner.site import Site, load

HERE = Release(batch_image="registry.example.edu/research-hub:1.0", config_maps={"research-people": "/etc/people"})
SCHEDULER = {kind: samples.scheduler(kind) for kind in SCHEDULERS}


def of_kind(objects: list[Json], kind: str) -> dict[str, Json]:
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def rules(objects: list[Json]) -> Iterator[Json]:
    for found in objects:
        yield from found.get("rules", [])


def rights(objects: list[Json], account: str) -> set[tuple[str, str, str]]:
    """(API group, resource, verb) of a ServiceAccount, wherever they are bound."""
    found = set()
    for binding in objects:
        if account not in {subject["name"] for subject in binding.get("subjects", [])}:
            continue
        role = of_kind(objects, binding["roleRef"]["kind"])[binding["roleRef"]["name"]]
        assert role["metadata"].get("namespace") == binding["metadata"].get("namespace")
        for rule in role["rules"]:
            found |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    return found


# A hash names the client's, and the sample has no devices.
@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("client", "devices", "queues")])
def test_parts_of_the_sample_site(site: Site, golden: Callable[[str], Any], part: str) -> None:
    assert everything(site, HERE, [part]) == golden(f"manifests/{part}")


def test_priorities_of_a_scheduler_without_its_own(golden: Callable[[str], Any]) -> None:
    plain = site_with({"scheduler": {"kind": "plain"}})
    assert everything(plain, HERE, ["priorities"]) == golden("manifests/priorities-plain")


OF_QUEUES = {
    "queues": {
        "climate": {"kueue": {"cluster_queue": "research"}, "kai": {"parent": "research"}},
        "teaching": {"kueue": {"local_queue": "lessons", "cluster_queue": "research"}, "share": 1},
    }
}


@pytest.mark.parametrize("kind", sorted(SCHEDULERS))
def test_queues_of_each_scheduler(kind: str, golden: Callable[[str], Any]) -> None:
    site = site_with(SCHEDULER[kind], OF_QUEUES)
    assert everything(site, HERE, ["queues"]) == golden(f"manifests/queues-{kind}")
    assert queue_comments(site) == golden(f"cli/comments-on-queues-{kind}")


def test_two_queues_that_describe_one_object_differently_are_an_error() -> None:
    same: Json = {"kueue": {"local_queue": "one", "cluster_queue": "research"}}
    site = site_with({"queues": {"climate": same, "teaching": same}})
    assert len(everything(site, HERE, ["queues"])) == 1
    other = {"kueue": {"local_queue": "one", "cluster_queue": "lessons"}}
    with pytest.raises(ValueError, match="queues climate and teaching describe LocalQueue one differently"):
        everything(site_with({"queues": {"climate": same, "teaching": other}}), HERE, ["queues"])


@pytest.mark.parametrize("kind", sorted(SCHEDULERS))
def test_every_object_can_be_applied(kind: str) -> None:
    objects = everything(site_with(SCHEDULER[kind], OF_QUEUES), HERE)
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(names) == len(set(names))
    for found in objects:
        assert found["apiVersion"] and found["kind"] and found["metadata"]["name"]
        assert found["metadata"]["labels"]["app.kubernetes.io/name"] == "research-spawner"
        cluster_wide = found["kind"].startswith("Cluster") or found["kind"].endswith("PriorityClass")
        cluster_wide = cluster_wide or found["kind"] == "Queue"
        assert ("namespace" in found["metadata"]) != cluster_wide
    assert yaml.safe_load(yaml.safe_dump(objects)) == objects, "text that YAML changes"


async def test_every_field_is_one_that_kubernetes_has(site: Site) -> None:
    """The generated client drops what it does not know, so what comes back whole has no misspelled field."""
    async with ApiClient() as client:
        for found in everything(site, HERE):
            if "kueue" in found["apiVersion"]:
                continue
            typed = client._ApiClient__deserialize(found, f"V1{found['kind']}")
            assert _without_empty(client.sanitize_for_serialization(typed)) == _without_empty(found)


def _without_empty(value: Any) -> Any:
    """An absent list and an empty one are the same to the generated client, but not to a NetworkPolicy."""
    if isinstance(value, dict):
        return {key: _without_empty(below) for key, below in value.items() if below not in (None, [], {})}
    return [_without_empty(below) for below in value] if isinstance(value, list) else value


async def test_the_service_can_be_started_as_the_deployment_says(site: Site, tmp_path: Path) -> None:
    objects = everything(site, HERE)
    (container,) = of_kind(objects, "Deployment")["research-batch"]["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value", "a-token") for entry in container["env"]}
    assert container["command"][:2] == ["python3", "-m"]
    assert importlib.util.find_spec(f"{container['command'][2]}.__main__")
    told = options(container["args"], environment)
    assert [str(path) for path in told.site] == ["/etc/research-spawner/site.yaml"]
    assert told.port == container["ports"][0]["containerPort"]


@pytest.mark.parametrize("kind", sorted(SCHEDULERS))
def test_pods_find_their_priority_classes(kind: str, alice: PosixIdentity) -> None:
    site = site_with(SCHEDULER[kind])
    objects = everything(site, HERE, ["priorities"])
    made = {(found["kind"], found["metadata"]["name"]) for found in objects}
    for queue in ("climate", "backfill"):
        for prerequisite in decide(site, alice, queue=queue).prerequisites:
            if prerequisite.kind.endswith("PriorityClass"):
                assert (prerequisite.kind, prerequisite.name) in made


def test_a_priority_class_that_the_site_names_is_its_own() -> None:
    objects = everything(site_with({"priorities": {"high": {"class": "urgent"}}}), HERE, ["priorities"])
    assert {found["metadata"]["name"] for found in objects} == {"research-low", "research-normal"}


def test_the_client_is_what_notebooks_mount(alice: PosixIdentity) -> None:
    site = site_with({"batch": {"url": "http://research-batch:8080/services/batch"}})
    config_map, _ = everything(site, HERE, ["client"])
    pod = compose(decide(site, alice), samples.notebook_pod(), notebook.SLOTS)
    (volume,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "research-client")
    mounted = {m["subPath"] for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == "research-client"}
    assert volume["projected"]["sources"][0]["configMap"]["name"] == config_map["metadata"]["name"]
    assert pod["metadata"]["namespace"] == config_map["metadata"]["namespace"]
    assert mounted == set(config_map["binaryData"])
    assert base64.b64decode(config_map["binaryData"]["jobs"]) == build()
    assert config_map["immutable"] is True


SIZES = (("", "nodes"), ("apps", "daemonsets"))


def test_the_rights_to_see_nodes_are_a_role_of_their_own_that_can_be_left_out() -> None:
    roles = of_kind(everything(site_with(), HERE, ["rbac"]), "ClusterRole").values()
    (role,) = [role for role in roles if any("nodes" in rule["resources"] for rule in role["rules"])]
    assert [(rule["apiGroups"], rule["resources"]) for rule in role["rules"]] == [
        ([group], [name]) for group, name in SIZES
    ]


def test_only_a_site_that_wants_it_lets_the_hub_read_pods_of_other_namespaces() -> None:
    def added(availability: str) -> set[tuple[str, str, str]]:
        site, off = ({"availability": one} for one in (availability, "none"))
        return rights(everything(site_with(site), HERE, ["rbac"]), "hub") - rights(
            everything(site_with(off), HERE, ["rbac"]), "hub"
        )

    kinds = SCHEDULERS["kueue"].queue_kinds
    queues = {(one.group, one.resource, verb) for one in kinds for verb in ("list", "watch")}
    assert added("queues") == queues
    assert added("nodes") == {*queues, ("", "pods", "list"), ("", "pods", "watch")}
    granted = everything(site_with({"availability": "nodes"}), HERE, ["rbac"])
    assert of_kind(granted, "ClusterRole")["research-all-pods-jhub"]["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
    ]
    (subject,) = of_kind(granted, "ClusterRoleBinding")["research-all-pods-jhub"]["subjects"]
    assert subject["name"] == "hub"


@pytest.mark.parametrize("kind", sorted(SCHEDULERS))
def test_hub_and_service_may_look_for_what_pods_need(kind: str, alice: PosixIdentity) -> None:
    site = site_with(SCHEDULER[kind])
    objects = everything(site, HERE)
    needed = {(one.group, one.resource, "get") for one in decide(site, alice, queue="climate").prerequisites}
    for watched in SCHEDULERS[kind].watched:
        needed |= {(watched.group, watched.resource, verb) for verb in ("get", "list", "watch")}
    if (order := SCHEDULERS[kind].ORDER) is not None:
        needed.add((order.group, order.resource, "get"))
    needed.add(("", "configmaps", "get"))
    needed |= {(group, resource, verb) for group, resource in SIZES for verb in ("list", "watch")}
    # The form says what is free, and My work how much of the quotas is used.
    needed |= {(one.group, one.resource, verb) for one in SCHEDULERS[kind].queue_kinds for verb in ("list", "watch")}
    # The hub writes deadlines into annotations of pods.
    assert rights(objects, "hub") == {*needed, ("", "pods", "patch")}, "exactly: the chart gives the hub the rest"
    assert needed <= rights(objects, "research-batch")


def test_no_role_has_a_wildcard_or_reads_secrets_or_makes_pods() -> None:
    stored = {kind.RESOURCE.plural for kind in KINDS.values()}
    held = {scheduler.HOLD.kind.resource for scheduler in SCHEDULERS.values() if scheduler.HOLD is not None}
    for kind in SCHEDULERS:
        for rule in rules(everything(site_with(SCHEDULER[kind]), HERE)):
            assert not {"*"} & {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert "secrets" not in rule["resources"]
            if "configmaps" in rule["resources"]:  # only administrators write it
                assert (rule["verbs"], rule["resourceNames"]) == (["get"], ["research-accepted-uids"])
            if rule["resources"] == ["pods"]:
                # One index of an array is cancelled by deleting its pod. The hub annotates pods.
                assert set(rule["verbs"]) <= {"delete", "get", "list", "watch"} or rule["verbs"] == ["patch"]
            elif rule["resources"] != ["pods/status"] and not stored & set(rule["resources"]):
                assert set(rule["verbs"]) <= {"get", "list", "watch"} or (
                    set(rule["resources"]) <= held and rule["verbs"] == ["patch"]
                )


@pytest.mark.parametrize("kind", sorted(SCHEDULERS))
def test_the_service_may_keep_jobs_from_starting(kind: str) -> None:
    hold = SCHEDULERS[kind].HOLD
    granted = rights(everything(site_with(SCHEDULER[kind]), HERE), "research-batch")
    assert ("batch", "jobs", "patch") in granted
    if hold is not None:
        assert hold.kind in SCHEDULERS[kind].watched
        assert (hold.kind.group, hold.kind.resource, "patch") in granted


@pytest.mark.parametrize("kind", sorted(SCHEDULERS))
def test_the_service_may_mark_pods_where_the_scheduler_deletes_them_without_a_mark(kind: str) -> None:
    marks = [rule["verbs"] for rule in rules(everything(site_with(SCHEDULER[kind]), HERE)) if _of_status(rule)]
    assert marks == ([["patch"]] if SCHEDULERS[kind].deletes_unmarked else [])


def _of_status(rule: Json) -> bool:
    return "pods/status" in rule["resources"]


def test_only_the_service_may_touch_jobs(site: Site) -> None:
    objects = everything(site, HERE)
    assert ("batch", "jobs", "create") in rights(objects, "research-batch")
    assert not any(resource == "jobs" for _, resource, _ in rights(objects, "hub"))


def test_rights_cross_namespaces_when_the_hub_lives_elsewhere(site: Site) -> None:
    objects = everything(site, Release(batch_image="hub:1", namespace="hub-system"))
    for binding in [*of_kind(objects, "RoleBinding").values(), *of_kind(objects, "ClusterRoleBinding").values()]:
        assert {subject["namespace"] for subject in binding["subjects"]} == {"hub-system"}
    assert of_kind(objects, "Role")["research-batch"]["metadata"]["namespace"] == "jhub"
    assert of_kind(objects, "Deployment")["research-batch"]["metadata"]["namespace"] == "hub-system"


def test_the_service_gets_the_settings_that_the_hub_has(site: Site) -> None:
    config_map = of_kind(everything(site, HERE), "ConfigMap")["research-batch"]
    there = load(yaml.safe_load(config_map["data"]["site.yaml"]))
    assert there == site
    assert there.digest == site.digest


def test_changed_settings_restart_the_service(site: Site) -> None:
    def template(of: Site) -> Json:
        return dict(of_kind(everything(of, HERE), "Deployment")["research-batch"]["spec"]["template"])

    assert template(site) == template(site_with())
    assert template(site) != template(site_with({"profiles": {"small": {"cpu": 3}}}))


def test_no_secret_is_in_any_object(site: Site) -> None:
    objects = everything(site, HERE)
    assert not of_kind(objects, "Secret")
    (container,) = of_kind(objects, "Deployment")["research-batch"]["spec"]["template"]["spec"]["containers"]
    inline = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    assert not [name for name in inline if "TOKEN" in name or "SECRET" in name or "PASSWORD" in name]
    assert [entry for entry in container["env"] if "value" not in entry] == [
        {
            "name": "JUPYTERHUB_API_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": "hub", "key": "hub.services.batch.apiToken"}},
        }
    ]


def test_only_the_hub_may_read_the_secrets_that_are_required_by_name() -> None:
    secrets = {"b": True, "a": True, "later": "optional", "ticket-{user}": True, "no": False}
    objects = everything(site_with({"pods": {"allow": {"secrets": secrets}}}), HERE, ["rbac"])
    role, binding = of_kind(objects, "Role")["research-secrets"], of_kind(objects, "RoleBinding")["research-secrets"]
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]}
    ]
    assert [subject["name"] for subject in binding["subjects"]] == ["hub"]
    for names in ({}, {"ticket-{user}": True}, {"later": "optional"}):
        found = everything(site_with({"pods": {"allow": {"secrets": names}}}), HERE, ["rbac"])
        assert "secrets" not in [name for one in found for rule in one.get("rules", []) for name in rule["resources"]]


def test_the_service_never_runs_without_an_image(site: Site) -> None:
    with pytest.raises(ValueError, match="requires an image with this package"):
        everything(site, Release())
    assert everything(site, Release(), ["priorities", "rbac"])


def test_the_service_is_found_under_the_hubs_base_url(site: Site) -> None:
    below = Release(batch_image="hub:1", base_url="/jupyter/")
    (container,) = of_kind(everything(site, below), "Deployment")["research-batch"]["spec"]["template"]["spec"][
        "containers"
    ]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert env["JUPYTERHUB_API_URL"] == "http://hub:8081/jupyter/hub/api"
    assert env["JUPYTERHUB_SERVICE_PREFIX"] == "/jupyter/services/batch/"
    assert container["readinessProbe"]["httpGet"]["path"] == "/jupyter/services/batch/health"


def selects(selector: Json, labels: dict[str, str]) -> bool:
    """Kubernetes' LabelSelector for the operators that we use."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for expression in selector.get("matchExpressions", []):
        key, operator = expression["key"], expression["operator"]
        if operator == "Exists" and key not in labels:
            return False
        if operator == "NotIn" and labels.get(key) in expression["values"]:
            return False
    return True


@pytest.mark.parametrize(
    ("labels", "policies"),
    [
        ({"research-spawner/kind": "notebook"}, {"research-notebooks"}),
        ({"research-spawner/kind": "job"}, {"research-jobs"}),
        ({"research-spawner/kind": "mpi"}, {"research-jobs"}),
        ({"app.kubernetes.io/name": "research-spawner", "app.kubernetes.io/component": "batch"}, {"research-batch"}),
        ({"app.kubernetes.io/component": "hub"}, set()),
        ({}, set()),
    ],
)
def test_each_pod_has_its_network_policy(site: Site, labels: dict[str, str], policies: set[str]) -> None:
    found = of_kind(everything(site, HERE, ["network"]), "NetworkPolicy")
    assert {name for name, policy in found.items() if selects(policy["spec"]["podSelector"], labels)} == policies


def test_jobs_reach_what_a_site_adds() -> None:
    there = Release(job_networks=("10.20.0.0/16",))
    jobs = of_kind(everything(site_with(), there, ["network"]), "NetworkPolicy")["research-jobs"]
    assert {"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}]} in jobs["spec"]["egress"]
    with pytest.raises(ValueError, match="is not a valid network"):
        everything(site_with(), Release(job_networks=("10.20.0.1/16",)), ["network"])


def egress(*storage: str, jobs: tuple[str, ...] = ()) -> dict[str, list[dict[str, Any]]]:
    release = Release(job_networks=jobs, storage_networks=storage)
    found = of_kind(everything(site_with(), release, ["network"]), "NetworkPolicy")
    return {name: policy["spec"].get("egress", []) for name, policy in found.items()}


def may_reach(rules: list[dict[str, Any]], address: str, port: int = 2049) -> bool:
    """As a NetworkPolicy does: one rule suffices, with all its ports if it names none."""

    def matches(block: dict[str, Any]) -> bool:
        at, networks = ip_address(address), [ip_network(block["cidr"]), *map(ip_network, block.get("except", []))]
        return at in networks[0] and not any(at in network for network in networks[1:])

    return any(
        matches(peer["ipBlock"])
        for rule in rules
        for peer in rule["to"]
        if "ipBlock" in peer and (not rule.get("ports") or port in [found["port"] for found in rule["ports"]])
    )


@pytest.mark.parametrize(
    ("address", "before", "after"),
    [
        ("203.0.113.7", True, False),  # a file server with a public address
        ("203.0.114.7", True, True),
        ("10.20.1.7", True, False),  # one in a network that jobs may reach
        ("10.20.2.7", True, True),
        ("10.30.0.1", False, False),
        ("2001:db8::7", True, False),
        ("2001:db9::7", True, True),
        ("fd00::7", False, False),
        ("169.254.169.254", False, False),
    ],
)
def test_file_servers_are_out_of_reach_of_jobs(address: str, before: bool, after: bool) -> None:
    networks = ("10.20.0.0/16",)
    storage = ("203.0.113.0/24", "10.20.1.0/24", "2001:db8::/32")
    assert may_reach(egress(jobs=networks)["research-jobs"], address) is before
    assert may_reach(egress(*storage, jobs=networks)["research-jobs"], address) is after


def test_notebooks_get_a_rule_for_public_addresses_only_with_storage_networks() -> None:
    """Rules add up: with the chart's own rule for public addresses it would change nothing."""
    assert not may_reach(egress()["research-notebooks"], "203.0.114.7")
    notebooks = egress("203.0.113.0/24")["research-notebooks"]
    assert may_reach(notebooks, "203.0.114.7")
    assert not may_reach(notebooks, "203.0.113.7")
    assert not may_reach(notebooks, "10.0.0.1")


def test_storage_network_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'nfs\.example\.edu' is not a valid network"):
        egress("nfs.example.edu")
