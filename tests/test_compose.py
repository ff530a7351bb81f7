"""compose: fills what is absent, refuses what differs, overwrites only what is ours alone."""

from __future__ import annotations

import copy
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from samples import IMAGE, Json, decide, notebook_pod, person, site_with

from jupyter_research_spawner.identity import PosixIdentity
from jupyter_research_spawner.jobs.notebook import SLOTS
from jupyter_research_spawner.pod import check, compose, replaced_fields
from jupyter_research_spawner.pod.containers import all_containers
from jupyter_research_spawner.pod.working_directory import SCRIPT as ENTER_SCRIPT
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.site import Site


def pod_with(spec: Json, main: Json | None = None, **metadata: Any) -> Json:
    """KubeSpawner's pod with more in its spec, its main container and its metadata."""
    pod = notebook_pod()
    pod["spec"].update(copy.deepcopy(spec))
    pod["spec"]["containers"][0].update(copy.deepcopy(main or {}))
    pod["metadata"].update(metadata)
    return pod


def sent(site: Site, pod: Json, **wishes: Any) -> Json:
    decided = decide(site, person("alice"), **wishes)
    composed = compose(decided, pod, SLOTS)
    check(decided, composed, SLOTS)
    return composed


DIFFERS: dict[str, tuple[Json, str, str]] = {
    "the chart's uid": (
        pod_with({"securityContext": {"runAsUser": 1000}}),
        "spec.securityContext.runAsUser",
        "is 1000, but it must be 20001",
    ),
    "the chart's uid in the container": (
        pod_with({}, {"securityContext": {"runAsUser": 1000}}),
        "spec.containers[0].securityContext.runAsUser",
        "is 1000, but it must be 20001",
    ),
    "a hook's gid": (
        pod_with({"securityContext": {"runAsGroup": 100}}),
        "spec.securityContext.runAsGroup",
        "is 100, but it must be 20001",
    ),
    "a hook's root": (
        pod_with({"securityContext": {"runAsNonRoot": False}}),
        "spec.securityContext.runAsNonRoot",
        "is false, but it must be true",
    ),
    "a hook's groups": (
        pod_with({"securityContext": {"supplementalGroups": [20500]}}),
        "spec.securityContext.supplementalGroups",
        "is [20500], but the user's are [20500, 20602]",
    ),
    "a hook's policy for groups": (
        pod_with({"securityContext": {"supplementalGroupsPolicy": "Merge"}}),
        "spec.securityContext.supplementalGroupsPolicy",
        "is 'Merge', but it must be 'Strict'",
    ),
    "setuid programs": (
        pod_with({}, {"securityContext": {"allowPrivilegeEscalation": True}}),
        "spec.containers[0].securityContext.allowPrivilegeEscalation",
        "is true, but it must be false",
    ),
    "a token": (
        pod_with({"automountServiceAccountToken": True}),
        "spec.automountServiceAccountToken",
        "is true, but it must be false",
    ),
    "another image": (
        pod_with({}, {"image": "evil"}),
        "container 'notebook'.image",
        f"is 'evil', but it must be '{IMAGE}'",
    ),
    "another namespace": (
        pod_with({}, namespace="default"),
        "metadata.namespace",
        "is 'default', but it must be 'jhub'",
    ),
    "another name": (
        pod_with({}, name="jupyter-bob"),
        "metadata.name",
        "is 'jupyter-bob', but it must be 'jupyter-alice'",
    ),
    "no main container": (
        pod_with({"containers": [{"name": "nb"}]}),
        "spec.containers",
        "has no container 'notebook', the main container",
    ),
}


@pytest.mark.parametrize(("pod", "path", "why"), DIFFERS.values(), ids=DIFFERS.keys())
def test_what_differs_is_refused_with_its_path(
    site: Site, alice: PosixIdentity, pod: Json, path: str, why: str
) -> None:
    with pytest.raises(Refusal) as refused:
        compose(decide(site, alice), pod, SLOTS)
    assert refused.value == Refusal(
        "manifest",
        f"Nothing was started: the pod's {path} {why}.",
        field=path,
        hint="Ask your administrators to check the hub's settings and hooks, which set this field.",
        status=503,
    )


def test_what_is_ours_alone_is_overwritten(site: Site) -> None:
    pod = pod_with(
        {
            "schedulerName": "chart-user-scheduler",
            "priorityClassName": "chart-default-priority",
            "volumes": [{"name": "research-claim-home", "hostPath": {"path": "/"}}, {"name": "shm", "emptyDir": {}}],
        },
        {
            "resources": {"limits": {"cpu": "64"}},
            "env": [{"name": "HOME", "value": "/home/jovyan"}, {"name": "WORK", "value": "$(HOME)/work"}],
            "volumeMounts": [
                {"name": "research-accounts", "mountPath": "/mnt"},
                {"name": "shm", "mountPath": "/dev/shm"},
            ],
        },
        labels={"research-spawner/uid": "0", "kueue.x-k8s.io/queue-name": "fast", "app": "jupyterhub"},
    )
    found = sent(site, pod)
    container = found["spec"]["containers"][0]
    assert "schedulerName" not in found["spec"]
    assert found["spec"]["priorityClassName"] == "research-normal"
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "4Gi"}
    assert [entry["value"] for entry in container["env"] if entry["name"] == "HOME"] == ["/home/alice"]
    assert container["env"][-2] == {"name": "WORK", "value": "$(HOME)/work"}
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert found["spec"]["volumes"][0] == {"name": "shm", "emptyDir": {}}
    labels = found["metadata"]["labels"]
    assert (labels["research-spawner/uid"], labels["kueue.x-k8s.io/queue-name"]) == ("20001", "climate")
    assert labels["app"] == "jupyterhub"


def test_another_scheduler_s_mark_is_not_taken_away_in_silence(site: Site) -> None:
    pod = pod_with({}, labels={"yunikorn.apache.org/queue": "root.fast"})
    with pytest.raises(Refusal, match=r"yunikorn\.apache\.org/queue must not be set: a scheduler could queue"):
        sent(site, pod)


def test_no_groups_of_kubespawner_s_are_no_other_groups(site: Site) -> None:
    pod = pod_with({"securityContext": {"supplementalGroups": []}})
    assert sent(site, pod)["spec"]["securityContext"]["supplementalGroups"] == [20500, 20602]


def test_null_is_absent(site: Site) -> None:
    pod = pod_with({"initContainers": None, "volumes": None, "securityContext": None}, {"env": None})
    assert sent(site, pod)["spec"] == sent(site, {**notebook_pod(), "spec": {**pod["spec"]}})["spec"]


def test_a_shorter_wall_time_stays_and_notebooks_start_at_home(site: Site) -> None:
    found = sent(site, pod_with({"activeDeadlineSeconds": 60}))
    assert found["spec"]["activeDeadlineSeconds"] == 60
    assert found["spec"]["containers"][0]["workingDir"] == "/home/alice"


def test_every_container_has_the_identity_and_only_main_the_data(site: Site) -> None:
    found = sent(
        site, pod_with({"initContainers": [{"name": "a"}], "containers": [{"name": "b"}, {"name": "notebook"}]})
    )
    expected = {
        "runAsUser": 20001,
        "runAsGroup": 20001,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    for _, container in all_containers(found):
        assert container["securityContext"] == expected
        assert ("volumeMounts" in container) == (container["name"] in ("notebook", "research-home"))


BASE: Json = {
    "tolerations": [{"key": "research", "operator": "Exists"}],
    "nodeSelector": {"zone": "a"},
    "imagePullSecrets": [{"name": "registry"}],
    "affinity": {"nodeAffinity": {"preferred": [{"weight": 1}], "required": {"terms": ["x"]}}},
    "dnsPolicy": "None",
    "env": {"PRICE": "$(HOME) costs 3$"},
    "labels": {"team": "physics"},
    "annotations": {"example.edu/note": "{}"},
}


def test_the_site_s_own_fields_come_beside_what_is_there() -> None:
    pod = pod_with(
        {
            "tolerations": [{"key": "hub", "operator": "Exists"}, {"key": "research", "operator": "Exists"}],
            "nodeSelector": {"arch": "amd64", "zone": "a"},
            "affinity": {"nodeAffinity": {"preferred": [{"weight": 2}]}, "podAffinity": {}},
        },
        labels={"team": "physics"},
    )
    found = sent(site_with({"pods": {"base": BASE}}), pod)
    spec = found["spec"]
    assert spec["tolerations"] == [{"key": "hub", "operator": "Exists"}, {"key": "research", "operator": "Exists"}]
    assert spec["nodeSelector"] == {"arch": "amd64", "zone": "a"}
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["affinity"] == {
        "nodeAffinity": {"preferred": [{"weight": 2}, {"weight": 1}], "required": {"terms": ["x"]}},
        "podAffinity": {},
    }
    assert spec["dnsPolicy"] == "None"
    assert {"name": "PRICE", "value": "$$(HOME) costs 3$$"} in spec["containers"][0]["env"]
    assert found["metadata"]["labels"]["team"] == "physics"
    assert found["metadata"]["annotations"]["example.edu/note"] == "{}"


OF_BASE: dict[str, tuple[Json, str]] = {
    "another value": (pod_with({"dnsPolicy": "Default"}), "spec.dnsPolicy"),
    "a list for text": (pod_with({"dnsPolicy": []}), "spec.dnsPolicy"),
    "another value in a map": (pod_with({"nodeSelector": {"zone": "b"}}), "spec.nodeSelector.zone"),
    "a map for a list": (pod_with({"tolerations": {}}), "spec.tolerations"),
    "text for a map": (pod_with({"affinity": "x"}), "spec.affinity"),
    "a map for a list far below": (
        pod_with({"affinity": {"nodeAffinity": {"preferred": {}}}}),
        "spec.affinity.nodeAffinity.preferred",
    ),
    "another label": (pod_with({}, labels={"team": "oceans"}), "metadata.labels.team"),
    "another annotation": (
        pod_with({}, annotations={"example.edu/note": "[]"}),
        "metadata.annotations.example.edu/note",
    ),
}


@pytest.mark.parametrize(("pod", "path"), OF_BASE.values(), ids=OF_BASE.keys())
def test_what_differs_from_the_site_s_own_fields_is_refused(pod: Json, path: str) -> None:
    with pytest.raises(Refusal) as refused:
        sent(site_with({"pods": {"base": BASE}}), pod)
    assert refused.value.field == path


@pytest.mark.parametrize(
    "given",
    [
        {"limits": {"cpu": "1", "memory": "1Gi"}},
        {"requests": {"cpu": "1", "memory": "1Gi"}},
        {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
    ],
    ids=str,
)
def test_on_one_numa_node_limits_are_copied_to_requests_or_back(site: Site, given: Json) -> None:
    found = sent(site, pod_with({"initContainers": [{"name": "prepare", "resources": given}]}), profile="a100")
    amounts = {"cpu": "1", "memory": "1Gi"}
    assert found["spec"]["initContainers"][1]["resources"] == {"limits": amounts, "requests": amounts}


@pytest.mark.parametrize("given", [{}, {"limits": {"cpu": "1"}}, {"requests": {"memory": "1Gi"}}], ids=str)
def test_on_one_numa_node_a_container_without_amounts_is_named(site: Site, given: Json) -> None:
    pod = pod_with({"containers": [*notebook_pod()["spec"]["containers"], {"name": "proxy", "resources": given}]})
    with pytest.raises(Refusal, match=r"\(container 'proxy'\) has no limit for .* Set limits for cpu and memory"):
        sent(site, pod, profile="a100")


def test_without_numa_other_containers_are_as_they_came(site: Site) -> None:
    found = sent(site, pod_with({"initContainers": [{"name": "prepare"}]}))
    assert "resources" not in found["spec"]["initContainers"][1]


def look(pod: Json) -> Json:
    found: Json = pod["spec"]["initContainers"][0]
    return found


def test_somebody_looks_for_the_home_from_where_nothing_is_made(site: Site) -> None:
    main, found = notebook_pod()["spec"]["containers"][0], look(sent(site, notebook_pod()))
    assert (found["name"], found["image"], found["workingDir"]) == ("research-home", main["image"], "/")
    assert found["command"][4:] == ["30", "home", "/home/alice"]


def test_the_limit_of_the_look_is_a_setting() -> None:
    found = look(sent(site_with({"storage": {"home_check_limit": "2m"}}), notebook_pod()))
    assert found["command"][4:] == ["120", "home", "/home/alice"]


@pytest.mark.parametrize(
    ("starts_in", "working_dir", "looked_for"),
    [
        ("/home/alice", "/home/alice", ["/home/alice"]),
        ("/home/alice/", "/home/alice", ["/home/alice"]),
        ("", "/home/alice", ["/home/alice"]),
        ("/home", "/home", ["/home/alice", "/home"]),
        ("/project/climate", "/project/climate", ["/home/alice", "/project/climate"]),
        ("/software", "/software", ["/home/alice"]),
    ],
)
def test_home_and_mounts_are_working_directories(
    site: Site, starts_in: str, working_dir: str, looked_for: list[str]
) -> None:
    volume, mount = {"name": "software", "emptyDir": {}}, {"name": "software", "mountPath": "/software/"}
    main = {"workingDir": starts_in, "volumeMounts": [mount], "args": ["jupyterhub-singleuser"]}
    found = sent(site, pod_with({"volumes": [volume]}, main))
    assert look(found)["command"][6::2] == looked_for
    container = found["spec"]["containers"][0]
    assert container["workingDir"] == working_dir
    assert container["args"] == ["jupyterhub-singleuser"]


@pytest.mark.parametrize(
    ("starts_in", "enters", "looked_for"),
    [
        ("/home/alice/climate", "/home/alice/climate", ["/home/alice/climate"]),
        ("/srv/../home/alice/climate/", "/home/alice/climate", ["/home/alice/climate"]),
        ("//project/climate/2026", "/project/climate/2026", ["/project/climate/2026"]),
        ("/home/bob", "/home/bob", ["/home/bob"]),
        ("/home/alice/a $(HOME)", "/home/alice/a $$(HOME)", ["/home/alice/a $$(HOME)"]),
        # In the image, where it may be a symlink to a mount.
        ("/srv", "/srv", []),
        ("/", "/", []),
    ],
)
def test_the_program_itself_changes_to_any_other_directory(
    site: Site, starts_in: str, enters: str, looked_for: list[str]
) -> None:
    found = sent(site, pod_with({}, {"workingDir": starts_in, "args": ["jupyterhub-singleuser", "--debug"]}))
    container = found["spec"]["containers"][0]
    assert container["workingDir"] == "/home/alice"
    assert "command" not in container
    assert container["args"] == [*ENTER, enters, "jupyterhub-singleuser", "--debug"]
    assert look(found)["command"][6::2] == ["/home/alice", *looked_for]
    assert sent(site, found) == found


ENTER = ["/bin/sh", "-c", ENTER_SCRIPT.replace("$", "$$"), "research-workdir"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"command": ["a", "b"]}, {"command": [*ENTER, "/home/alice/x"], "args": ["a", "b"]}),
        ({"command": ["a"], "args": ["b"]}, {"command": [*ENTER, "/home/alice/x", "a"], "args": ["b"]}),
        ({"args": ["a"]}, {"args": [*ENTER, "/home/alice/x", "a"]}),
    ],
)
def test_the_program_keeps_its_words_and_the_entrypoint(site: Site, before: Json, after: Json) -> None:
    container = sent(site, pod_with({}, {"workingDir": "/home/alice/x", **before}))["spec"]["containers"][0]
    assert {key: container[key] for key in ("command", "args") if key in container} == after


def test_a_directory_below_the_home_needs_a_known_program(site: Site) -> None:
    with pytest.raises(Refusal) as refused:
        sent(site, pod_with({}, {"workingDir": "/home/alice/x"}))
    assert refused.value.field == "workingDir of container 'notebook'"
    assert "the program is not known" in refused.value.message
    assert "c.KubeSpawner.cmd" in refused.value.hint


def entering(directory: Path, *words: str | Path, shell: str = "/bin/sh") -> subprocess.CompletedProcess[str]:
    """Run words from /, as the container does."""
    command = [shell, "-c", ENTER_SCRIPT, "research-workdir", directory, *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")


SHELLS = [name for name in ("dash", "bash", "busybox") if shutil.which(name)]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A shell under the name `sh`."""
    link = tmp_path / "sh"
    link.symlink_to(str(shutil.which(request.param)))
    return str(link)


def test_the_program_starts_in_an_odd_directory_with_its_words(tmp_path: Path, shell: str) -> None:
    odd = tmp_path / "-P $(touch made) `b` 'c' \\n"
    odd.mkdir()
    ran = entering(odd, "/bin/sh", "-c", 'pwd -P; printf "%s|" "$@"', "x", "a b", "$HOME", "", "*", shell=shell)
    assert ran.stdout == f"{odd}\na b|$HOME||*|"
    assert not list(tmp_path.glob("**/made"))


def test_the_program_keeps_its_exit_code_and_its_signals(tmp_path: Path, shell: str) -> None:
    assert entering(tmp_path, "/bin/sh", "-c", "exit 7", shell=shell).returncode == 7
    assert entering(tmp_path, "/bin/sh", "-c", "kill -TERM $$", shell=shell).returncode == -signal.SIGTERM


def test_a_missing_directory_is_named(tmp_path: Path, shell: str) -> None:
    missing = tmp_path / "no \\n such"
    ran = entering(missing, "touch", tmp_path / "ran", shell=shell)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"The working directory {missing} does not exist.\n"
    assert not (tmp_path / "ran").exists()


def test_another_image_may_look_for_the_home() -> None:
    storage = {"home_check_image": "busybox:1.37"}
    assert look(sent(site_with({"storage": storage}), notebook_pod()))["image"] == "busybox:1.37"


def test_the_client_comes_with_the_batch_service_and_into_notebooks_only() -> None:
    with_service = site_with({"batch": {"url": "http://batch"}})
    assert '"research-client"' not in repr(sent(site_with(), notebook_pod())).replace("'", '"')
    container = sent(with_service, notebook_pod())["spec"]["containers"][0]
    assert container["volumeMounts"][-1] == {
        "name": "research-client",
        "mountPath": "/usr/local/bin/jobs",
        "subPath": "jobs",
        "readOnly": True,
    }
    assert {"name": "RESEARCH_BATCH_URL", "value": "http://batch"} in container["env"]


def test_without_an_image_of_the_site_s_the_pod_keeps_its_own() -> None:
    site = site_with({"profiles": {"small": {"images": None}}})
    found = sent(site, pod_with({}, {"image": "quay.io/jupyter/minimal-notebook"}))
    assert found["spec"]["containers"][0]["image"] == "quay.io/jupyter/minimal-notebook"


def test_one_claim_at_two_paths_is_one_volume() -> None:
    site = site_with({"storage": {"mounts": {"more": {"claim": "era5", "path": "/data/more"}}}})
    found = sent(site, notebook_pod())
    volumes = [volume["name"] for volume in found["spec"]["volumes"]]
    assert volumes.count("research-claim-era5") == 1
    mounts = [m for m in found["spec"]["containers"][0]["volumeMounts"] if m["name"] == "research-claim-era5"]
    assert [(mount["mountPath"], mount.get("readOnly", False)) for mount in mounts] == [
        ("/data/era5", True),
        ("/data/more", False),
    ]


def test_variables_state_the_amounts_of_the_plan_whatever_a_hook_has_set(site: Site) -> None:
    """A pre_spawn_hook with `spawner.mem_limit = "64G"` changes what KubeSpawner writes into the environment."""
    said = [
        {"name": "MEM_LIMIT", "value": "64000000000"},
        {"name": "CPU_LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "OTHER", "value": "1"},
    ]
    container = sent(site, pod_with({}, {"env": said}))["spec"]["containers"][0]
    env = {entry["name"]: entry for entry in container["env"]}
    assert env["MEM_LIMIT"] == {"name": "MEM_LIMIT", "value": str(4 * 2**30)}
    assert env["CPU_LIMIT"] == {"name": "CPU_LIMIT", "value": "2.0"}
    assert env["OTHER"]["value"] == "1"
    assert "MEM_GUARANTEE" not in env


def test_what_compose_replaces_is_named_with_its_path(site: Site) -> None:
    base = pod_with(
        {"schedulerName": "user-scheduler", "priorityClassName": "urgent"},
        {"resources": {"limits": {"memory": "64G", "cpu": 2, "example.com/fpga": "1"}, "requests": {"memory": "4Gi"}}},
    )
    composed = sent(site, base)
    name = base["spec"]["containers"][0]["name"]
    assert replaced_fields(base, composed, name) == [
        ("spec.schedulerName", "user-scheduler", composed["spec"].get("schedulerName")),
        ("spec.priorityClassName", "urgent", composed["spec"].get("priorityClassName")),
        ("the main container's resources.limits.example.com/fpga", "1", None),
        ("the main container's resources.limits.memory", "64G", "4Gi"),
    ]
    assert replaced_fields(composed, composed, name) == []
