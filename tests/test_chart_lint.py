"""`lint -f`: values of Zero to JupyterHub need one round of corrections, and nothing that is harmless is refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import samples
import yaml
from helm_files import OWN_IMAGE

from jupyter_research_spawner.chart_values import build, changed, complete, hub_pod
from jupyter_research_spawner.cli import main
from jupyter_research_spawner.cli.chart_lint import ChartReport, check_chart
from jupyter_research_spawner.configuration import with_extra_files
from jupyter_research_spawner.settings import merge, merge_values, read
from jupyter_research_spawner.site import load
from jupyter_research_spawner.spawner import render_notebook

TREE = Path(__file__).parent.parent
BASE, BUSY = TREE / "helm-values" / "base.yaml", samples.DATA / "chart" / "busy-hub.yaml"
BATCH = read(TREE / "helm-values" / "batch.yaml")
CONFIGURE = read(BASE)["hub"]["extraConfig"]["z-research"]


# One profile and one mount are enough for most tests.
SMALL: dict[str, Any] = {
    "custom": {
        "research": {
            "profiles": {"large": None},
            "storage": {"mounts": {"era5": {"claim": "era5", "path": "/data/era5", "read_only": True}}},
        }
    }
}


def values(*more: dict[str, Any]) -> dict[str, Any]:
    return merge(read(BASE), BATCH, SMALL, OWN_IMAGE, *more)


def checked(found: dict[str, Any]) -> ChartReport:
    return check_chart(found, samples.NOW, BASE.parent)


def singleuser(**fields: Any) -> dict[str, Any]:
    return {"singleuser": fields}


def program(*lines: str) -> dict[str, Any]:
    return {"hub": {"extraConfig": {"10-site": "\n".join(lines)}}}


def starts(found: dict[str, Any]) -> dict[str, Any]:
    """The pod of a user of a hub with these values, composed and checked as in a start."""
    whole = complete(found, namespace="jhub")
    with hub_pod(whole):
        result = build(whole)
        assert (result.problems, result.refused) == ([], []), "the hub would not start"
        site = with_extra_files(load(found["custom"]["research"]))
        _, pod = asyncio.run(
            render_notebook(site, "alice", {"profile": "small"}, result.config, identity=samples.person("alice"))
        )
    return pod


def test_a_busy_hub_needs_one_round(
    golden: Callable[[str], Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["lint", "-f", str(BASE), "-f", str(BUSY)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.replace(f"{BASE}:", "base.yaml:").replace(f"{BUSY}:", "busy-hub.yaml:") == golden("cli/busy-hub")
    before = merge(read(BASE), read(BUSY))
    after = tmp_path / "after.yaml"
    after.write_text(yaml.safe_dump(changed(before, checked(before).changes)))
    assert main(["lint", "-f", str(after)]) == 0
    assert capsys.readouterr().out.startswith("No mistakes.")
    pod = starts(read(after))
    assert {volume["name"] for volume in pod["spec"]["volumes"]} >= {"software", "files"}
    assert {"name": "VIEWER_OPTIONS", "value": '{"theme": "dark"}'} in pod["spec"]["containers"][0]["env"]
    assert {"name": "IS_ADMIN", "value": "False"} in pod["spec"]["containers"][0]["env"]


# What is refused, with the key of the chart and words of the message.
PROBLEMS: dict[str, tuple[dict[str, Any], str, str]] = {
    "the chart's default home": (
        {"singleuser": {"storage": {"type": "dynamic"}}},
        "singleuser.storage.type",
        "Set singleuser.storage.type: none",
    ),
    "iptables": (
        singleuser(cloudMetadata={"blockWithIptables": True}),
        "singleuser.cloudMetadata.blockWithIptables",
        "Set singleuser.cloudMetadata.blockWithIptables: false",
    ),
    "a uid": (singleuser(uid=0), "singleuser.uid", "Set singleuser.uid: null"),
    "a profile list": (
        singleuser(profileList=[{"display_name": "a"}]),
        "singleuser.profileList",
        "Set singleuser.profileList: []",
    ),
    "privilege escalation": (
        singleuser(allowPrivilegeEscalation=True),
        "singleuser.allowPrivilegeEscalation",
        "Set singleuser.allowPrivilegeEscalation: false",
    ),
    "a service account": (
        singleuser(serviceAccountName="cloud"),
        "singleuser.serviceAccountName",
        "Remove it",
    ),
    "a service account in extraPodConfig": (
        singleuser(extraPodConfig={"serviceAccountName": "cloud"}),
        "singleuser.extraPodConfig.serviceAccountName",
        "Remove it",
    ),
    "a token of the service account": (
        singleuser(extraPodConfig={"automountServiceAccountToken": True}),
        "singleuser.extraPodConfig.automountServiceAccountToken",
        "Remove it",
    ),
    "a group of the file system": (
        singleuser(extraPodConfig={"securityContext": {"fsGroup": 100}}),
        "singleuser.extraPodConfig.securityContext.fsGroup",
        "Remove it",
    ),
    "a field that can be allowed": (
        singleuser(extraPodConfig={"readinessGates": [{"conditionType": "a"}]}),
        "singleuser.extraPodConfig.readinessGates",
        "custom.research.pods.allow.fields: {readinessGates: true}",
    ),
    "the network of the node": (
        singleuser(extraPodConfig={"hostNetwork": True}),
        "singleuser.extraPodConfig.hostNetwork",
        "Remove it",
    ),
    "a container that changes owners": (
        singleuser(
            initContainers=[
                {"name": "a", "image": "b"},
                {
                    "name": "own",
                    "image": "b",
                    "command": ["chown", "-R", "1000", "/x"],
                    "securityContext": {"runAsUser": 0},
                },
            ]
        ),
        "singleuser.initContainers[1]",
        "each home already belongs to its user",
    ),
    "a sidecar with variables of a Secret": (
        singleuser(extraContainers=[{"name": "s", "image": "b", "envFrom": [{"secretRef": {"name": "a"}}]}]),
        "singleuser.extraContainers[0]",
        "Remove envFrom",
    ),
    "a port of the node": (
        singleuser(extraContainers=[{"name": "s", "image": "b", "ports": [{"containerPort": 1, "hostPort": 1}]}]),
        "singleuser.extraContainers[0]",
        "Remove ports[0].hostPort",
    ),
    "a device of a sidecar": (
        singleuser(extraContainers=[{"name": "s", "image": "b", "resources": {"limits": {"nvidia.com/gpu": 1}}}]),
        "singleuser.extraContainers[0]",
        "Remove nvidia.com/gpu from its resources",
    ),
    "a sidecar on one NUMA node": (
        {
            "singleuser": {"extraContainers": [{"name": "s", "image": "b"}]},
            "custom": {"research": {"profiles": {"numa": {"title": "NUMA", "like": "small", "numa": "single-node"}}}},
        },
        "singleuser.extraContainers[0]",
        "singleuser.extraContainers[0].resources: {limits: {cpu: 100m, memory: 128Mi}}",
    ),
    "a claim with shared data": (
        singleuser(
            storage={
                "extraVolumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
                "extraVolumeMounts": [
                    {"name": "d", "mountPath": "/home/jovyan/data", "subPath": "common", "readOnly": True},
                ],
            }
        ),
        "singleuser.storage.extraVolumes[0]",
        "storage.mounts: {shared-data: {claim: data, path: /shared/data, sub_path: common, read_only: true}}",
    ),
    "the claim of all homes": (
        singleuser(
            storage={
                "extraVolumes": {"h": {"name": "h", "persistentVolumeClaim": {"claimName": "home"}}},
                "extraVolumeMounts": {"h": {"name": "h", "mountPath": "/all"}},
            }
        ),
        "singleuser.storage.extraVolumeMounts.h",
        "Remove it",
    ),
    "another claim of homes": (
        singleuser(
            storage={
                "extraVolumes": [{"name": "h", "persistentVolumeClaim": {"claimName": "nfs-homes"}}],
                "extraVolumeMounts": [{"name": "h", "mountPath": "/home/jovyan", "subPath": "{username}"}],
            }
        ),
        "singleuser.storage.extraVolumes[0]",
        "Homes come from custom.research.storage.homes",
    ),
    "a shared directory on the claim of homes": (
        singleuser(
            storage={
                "type": "static",
                "static": {"pvcName": "nfs", "subPath": "{username}"},
                "extraVolumeMounts": {
                    "shared": {
                        "name": "home",
                        "mountPath": "/home/jovyan/shared",
                        "subPath": "_shared",
                        "readOnly": True,
                    },
                    "again": {"name": "home", "mountPath": "/opt/me", "subPath": "{username}"},
                },
            }
        ),
        "singleuser.storage.extraVolumeMounts.shared",
        "storage.mounts: {shared: {claim: nfs, path: /shared, sub_path: _shared, read_only: true}}",
    ),
    "the user's home at another path": (
        singleuser(
            storage={
                "type": "static",
                "static": {"pvcName": "nfs", "subPath": "{username}"},
                "extraVolumeMounts": [{"name": "home", "mountPath": "/opt/me", "subPath": "{username}"}],
            }
        ),
        "singleuser.storage.extraVolumeMounts[0]",
        "Remove it. With singleuser.storage.type: none its volume no longer exists",
    ),
    "files below the homes": (
        singleuser(extraFiles={"a.txt": {"mountPath": "/home/jovyan/a.txt", "stringData": "a"}}),
        "singleuser.extraFiles.a.txt",
        "Choose a mountPath that is neither above nor below",
    ),
    "a directory of the node": (
        singleuser(
            storage={
                "extraVolumes": [{"name": "d", "hostPath": {"path": "/local"}}],
                "extraVolumeMounts": [{"name": "d", "mountPath": "/local"}],
            }
        ),
        "singleuser.storage.extraVolumes[0]",
        "host_paths: {/local: ro}, and singleuser.storage.extraVolumeMounts[0]: {readOnly: true}",
    ),
    "an NFS export": (
        singleuser(
            storage={
                "extraVolumes": [{"name": "d", "nfs": {"server": "nfs", "path": "/data"}}],
                "extraVolumeMounts": [{"name": "d", "mountPath": "/data", "readOnly": True}],
            }
        ),
        "singleuser.storage.extraVolumes[0]",
        'custom.research.pods.allow.nfs: {"nfs:/data": ro}',
    ),
    "a Secret": (
        singleuser(
            storage={
                "extraVolumes": [{"name": "s", "secret": {"secretName": "token"}}],
                "extraVolumeMounts": [{"name": "s", "mountPath": "/etc/token"}],
            }
        ),
        "singleuser.storage.extraVolumes[0]",
        "If every user may read it, set custom.research.pods.allow.secrets: {token: true}",
    ),
    "a kind of volume that is not known": (
        singleuser(storage={"extraVolumes": [{"name": "d", "azureFile": {"secretName": "a", "shareName": "b"}}]}),
        "singleuser.storage.extraVolumes[0]",
        "Remove it and its mounts",
    ),
    "a variable of a Secret": (
        singleuser(extraEnv={"TOKEN": {"valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}}),
        "singleuser.extraEnv.TOKEN",
        "custom.research.pods.allow.secrets: {a: true}",
    ),
    "a dangerous variable": (
        singleuser(extraEnv={"LD_PRELOAD": "x.so"}),
        "singleuser.extraEnv.LD_PRELOAD",
        "Remove it",
    ),
    "variables as a list": (
        singleuser(extraEnv=[{"name": "A", "value": "b"}]),
        "singleuser.extraEnv",
        "KubeSpawner does not accept it",
    ),
    "a misspelt field": (singleuser(extraEnv={"A": "{usernam}"}), "singleuser.extraEnv.A", "{usernam}"),
    "a label of a scheduler": (
        singleuser(extraLabels={"volcano.sh/queue-name": "a"}),
        "singleuser.extraLabels.volcano.sh/queue-name",
        "Remove it",
    ),
    "an annotation of a runtime": (
        singleuser(extraAnnotations={"io.containerd.a": "b"}),
        "singleuser.extraAnnotations.io.containerd.a",
        "Remove it",
    ),
    "a request of a hook to another host": (
        singleuser(lifecycleHooks={"postStart": {"httpGet": {"host": "evil", "port": 1}}}),
        "singleuser.lifecycleHooks.postStart",
        "Remove it",
    ),
    "a trait in hub.config": (
        {"hub": {"config": {"KubeSpawner": {"privileged": True}}}},
        "hub.config.KubeSpawner.privileged",
        "Remove it",
    ),
    "a trait in a program": (
        program("c.KubeSpawner.gid = 100"),
        "hub.extraConfig.10-site",
        "Remove c.KubeSpawner.gid from this program",
    ),
    "a volume in a program": (
        program(
            "c.KubeSpawner.volumes['d'] = {'name': 'd', 'hostPath': {'path': '/'}}",
            "c.KubeSpawner.volume_mounts['d'] = {'name': 'd', 'mountPath': '/node'}",
        ),
        "hub.extraConfig.10-site",
        "c.KubeSpawner.volumes",
    ),
    "a hook in a program": (
        program(
            "def hook(spawner, pod):",
            "  pod.spec.host_network = True",
            "  return pod",
            "c.KubeSpawner.modify_pod_hook = hook",
        ),
        "hub.extraConfig.10-site",
        "modify_pod_hook",
    ),
    "a hook that fails": (
        program("def hook(spawner):", "  spawner.no_such_thing()", "c.KubeSpawner.pre_spawn_hook = hook"),
        "hub.extraConfig.10-site",
        "no_such_thing",
    ),
    "another spawner": (
        program("c.JupyterHub.spawner_class = 'jupyterhub.spawner.SimpleLocalProcessSpawner'"),
        "hub.extraConfig.10-site",
        "ResearchSpawner",
    ),
    "no service": ({"hub": {"services": {"batch": None}}}, "hub.services.batch", "url: http://research-batch:8080"),
    "no call of configure": (
        {"hub": {"extraConfig": {"z-research": None, "10-site": "a = 1"}}},
        "hub.extraConfig",
        CONFIGURE,
    ),
    "a program with a mistake": (program("c.KubeSpawner.cmd = nothing"), "hub.extraConfig.10-site", "NameError"),
}
PROBLEMS |= {
    "a directory of the node that gives control of it": (
        singleuser(
            storage={
                "extraVolumes": [{"name": "d", "hostPath": {"path": "/var/run/docker.sock"}}],
                "extraVolumeMounts": [{"name": "d", "mountPath": "/var/run/docker.sock"}],
            }
        ),
        "singleuser.storage.extraVolumes[0]",
        "could give users control of the node. Remove it and its mounts",
    ),
    "an NFS export with homes": (
        singleuser(
            storage={
                "extraVolumes": [{"name": "d", "nfs": {"server": "nfs", "path": "/homes"}}],
                "extraVolumeMounts": [{"name": "d", "mountPath": "/home/jovyan", "subPath": "{username}"}],
            }
        ),
        "singleuser.storage.extraVolumes[0]",
        "Remove it and its mounts. Homes come from custom.research.storage.homes",
    ),
    "a claim for each user": (
        singleuser(
            storage={
                "extraVolumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "db-{username}"}}],
                "extraVolumeMounts": [{"name": "d", "mountPath": "/var/lib/postgresql", "subPath": "data"}],
            }
        ),
        "singleuser.storage.extraVolumes[0]",
        'To keep it, set custom.research.pods.allow.claims: {"db-{user}": rw}',
    ),
    "shared data below the homes": (
        singleuser(
            storage={
                "extraVolumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
                "extraVolumeMounts": [{"name": "d", "mountPath": "/home/shared/data"}],
            }
        ),
        "singleuser.storage.extraVolumes[0]",
        "storage.mounts: {shared-data: {claim: data, path: /shared/data}}",
    ),
    "a sidecar with the home": (
        singleuser(
            storage={"type": "static", "static": {"pvcName": "nfs", "subPath": "{username}"}},
            extraContainers=[
                {
                    "name": "s",
                    "image": "b",
                    "securityContext": {"runAsUser": 1000},
                    "volumeMounts": [{"name": "home", "mountPath": "/x", "subPath": "{username}"}],
                },
            ],
        ),
        "singleuser.extraContainers[0]",
        "Remove its securityContext",
    ),
    "a volume of extraPodConfig": (
        singleuser(extraPodConfig={"volumes": [{"name": "d", "hostPath": {"path": "/"}}]}),
        "singleuser.extraPodConfig.volumes",
        "Remove it",
    ),
    "a field that Kubernetes does not have": (
        singleuser(lifecycleHooks={"onStart": {"exec": {"command": ["a"]}}}),
        "singleuser.lifecycleHooks.onStart",
        "KubeSpawner raised ValueError: 'V1Lifecycle' did not have an attribute matching 'onStart'",
    ),
    "a field that Kubernetes does not have, beside one that is refused": (
        singleuser(extraPodConfig={"noSuchField": 1, "hostPID": True}),
        "singleuser.extraPodConfig.noSuchField",
        "KubeSpawner raised ValueError: 'V1PodSpec' did not have an attribute matching 'noSuchField'",
    ),
    "iptables without a network policy": (
        singleuser(cloudMetadata={"blockWithIptables": True}, networkPolicy={"enabled": False}),
        "singleuser.cloudMetadata.blockWithIptables",
        "blockWithIptables: false, and singleuser.networkPolicy: {enabled: true}, because nothing else blocks",
    ),
    "an invalid quantity": (
        singleuser(memory={"guarantee": "much"}),
        "singleuser.memory.guarantee",
        "KubeSpawner does not accept it as mem_guarantee",
    ),
    "a pull secret of another form": (
        {"imagePullSecrets": [{"nam": "a"}]},
        "imagePullSecrets",
        "'V1LocalObjectReference' did not have an attribute matching 'nam'",
    ),
}
# These cannot be corrected by a machine.
BY_HAND = {"a program with a mistake"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_has_the_key_of_the_chart_and_one_round_solves_it(name: str) -> None:
    more, key, words = PROBLEMS[name]
    before = values(more)
    report = checked(before)
    assert key in {problem.path for problem in report.problems}, report.problems
    said = next(problem.message for problem in report.problems if problem.path == key and words in problem.message)
    assert "To allow" not in said
    assert "the pod's" not in said or key.startswith("hub.")
    if name in BY_HAND:
        return
    after = changed(before, report.changes)
    if not any(change.path[0] == "c" for change in report.changes):
        assert checked(after).problems == []
        starts(after)


HARMLESS: dict[str, dict[str, Any]] = {
    "numbers": singleuser(extraEnv={"OMP_NUM_THREADS": 2, "DEBUG": True, "HALF": 0.5}),
    "fields": singleuser(extraEnv={"NODE": {"valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}}),
    "JSON": singleuser(extraEnv={"OPTIONS": '{"theme": "dark"}', "URL": "/user/{username}/", "SHELL_LIKE": "${HOME}"}),
    "files": singleuser(extraFiles={"a": {"mountPath": "/etc/a.json", "data": {"a": 1}, "mode": 0o644}}),
    "scratch": singleuser(
        storage={
            "extraVolumes": [
                {"name": "s", "emptyDir": {"sizeLimit": "1Gi"}},
                {"name": "c", "configMap": {"name": "c"}},
            ],
            "extraVolumeMounts": [{"name": "s", "mountPath": "/scratch"}, {"name": "c", "mountPath": "/etc/c"}],
        }
    ),
    "places": singleuser(
        nodeSelector={"pool": "users"},
        extraTolerations=[{"key": "a", "operator": "Exists"}],
        extraNodeAffinity={"required": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]},
        extraPodAffinity={"preferred": [{"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}]},
    ),
    "defaults": {
        "singleuser": {"uid": 1000, "fsGid": 100, "storage": {"type": "none"}, "memory": {"guarantee": "1G"}},
        "scheduling": {"userScheduler": {"enabled": True}, "podPriority": {"enabled": True}},
    },
    "amounts": singleuser(cpu={"limit": 2}, memory={"limit": "4G"}, extraResource={"limits": {"nvidia.com/gpu": "1"}}),
    "image": singleuser(
        image={"pullSecrets": ["a"], "pullPolicy": "Always"}, cmd=None, defaultUrl="/lab", startTimeout=900
    ),
    "pull secrets": {"imagePullSecret": {"create": True}, "imagePullSecrets": ["a", {"name": "b"}]},
    "hooks": singleuser(lifecycleHooks={"postStart": {"exec": {"command": ["sh", "-c", "gitpuller || true"]}}}),
    "containers": singleuser(
        initContainers=[{"name": "a", "image": "b", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}],
        extraContainers=[
            {
                "name": "c",
                "image": "d",
                "env": [{"name": "PORT", "value": 80}],
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
            }
        ],
    ),
    "labels": singleuser(extraLabels={"team": "a"}, extraAnnotations={"note": "{username} of ${HOME}"}),
    "pod": singleuser(
        extraPodConfig={"hostname": "a", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 5}
    ),
    "hub": {
        "hub": {
            "config": {"GitHubOAuthenticator": {"client_id": "a"}, "Authenticator": {"admin_users": ["alice"]}},
            "extraEnv": {"A": "b"},
            "loadRoles": {"r": {"scopes": ["self"]}},
            "services": {"s": {"apiToken": "x", "url": "http://s"}},
            "networkPolicy": {"enabled": False},
        },
        "ingress": {"enabled": True, "hosts": ["hub.example.edu"]},
        "proxy": {"secretToken": "x"},
        "debug": {"enabled": True},
    },
    "programs": program(
        "import os, a_package_of_the_hub",
        "c.KubeSpawner.pre_spawn_hook = lambda spawner: spawner.user.admin",
    ),
    "hooks that ask the user": program(
        "async def hook(spawner):",
        "  state = await spawner.user.get_auth_state()",
        "  spawner.environment['T'] = ','.join(group.name for group in spawner.user.groups)",
        "c.KubeSpawner.pre_spawn_hook = hook",
    ),
    "another namespace": program("c.KubeSpawner.namespace = 'jhub'"),
}


@pytest.mark.parametrize("more", HARMLESS.values(), ids=HARMLESS)
def test_what_is_harmless_is_not_refused(more: dict[str, Any]) -> None:
    found = values(more)
    assert [str(problem) for problem in checked(found).problems] == []
    starts(found)


def test_what_has_no_effect_is_advice() -> None:
    report = checked(
        values(
            singleuser(extraEnv={"A": "b"}, memory={"limit": "4G"}, startTimeout=900),
            program("import a_package", "x"),
            {"hub": {"extraConfig": {"20": "c.KubeSpawner.environment = {'C': 'd'}"}}},
        )
    )
    advice = {problem.path: problem.message for problem in report.advice}
    assert report.problems == []
    assert "hub.extraConfig.20 replaces it, by c.KubeSpawner.environment" in advice["singleuser.extraEnv"]
    assert "has no effect" in advice["singleuser.memory.limit"]
    assert "has no effect" in advice["singleuser.startTimeout"]
    assert "line 1 with ModuleNotFoundError" in advice["hub.extraConfig.10-site"]


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (singleuser(extraTolerations=1), "singleuser.extraTolerations: must be a list, not a number"),
        (singleuser(extraEnv="A=b"), "singleuser.extraEnv: must be a list or a map, not text"),
        (singleuser(memory="4G"), "singleuser.memory: must be a map, not text"),
        (singleuser(serviceAccountName=["a"]), ""),
        (singleuser(image={"tag": ["a"]}), "singleuser.image.tag: must be a single value, not a list"),
        (
            singleuser(storage={"extraVolumes": [{"emptyDir": {}}]}),
            "singleuser.storage.extraVolumes[0]: must have name, which must be text",
        ),
        (singleuser(initContainers=[None]), "singleuser.initContainers[0]: must be a map, not empty"),
        (singleuser(extraFiles={"a": 1}), "singleuser.extraFiles.a: must be a map, not a number"),
        (
            singleuser(extraFiles={"a": {"mountPath": "/etc/a", "data": {}, "mode": "0644"}}),
            "singleuser.extraFiles.a.mode: must be a number, not text",
        ),
        (
            singleuser(extraFiles={"a": {"mountPath": "/etc/a"}}),
            "singleuser.extraFiles.a: must have exactly one of binaryData, data and stringData",
        ),
        (
            singleuser(extraTolerations=[{"key": "a", "operator": "Exits"}]),
            "singleuser.extraTolerations[0].operator: must be Equal or Exists",
        ),
        (
            {"scheduling": {"userPods": {"tolerations": [{"operator": "Exists", "effect": "Never"}]}}},
            "scheduling.userPods.tolerations[0].effect: must be NoSchedule, PreferNoSchedule or NoExecute",
        ),
        ({"hub": {"extraConfig": {"10": ["c"]}}}, "hub.extraConfig.10: must be text, not a list"),
        ({"hub": {"extraConfig": "c.KubeSpawner.uid = 1"}}, "hub.extraConfig: must be a map, not text"),
        ({"hub": {"services": {"a": "http://a"}}}, "hub.services.a: must be a map, not text"),
        ({"hub": {"config": {"KubeSpawner": "a"}}}, "hub.config.KubeSpawner: must be a map, not text"),
        ({"scheduling": []}, "scheduling: must be a map, not a list"),
        (singleuser(nodeSelector={"gpu": True}), "singleuser.nodeSelector.gpu: must be text, not a boolean. Quote it"),
        (singleuser(storage={"type": "sttaic"}), "singleuser.storage.type: must be dynamic, static or none"),
        (
            singleuser(extraContainers=[{"name": "notebook", "image": "b"}]),
            "singleuser.extraContainers[0]: has the name 'notebook', which the notebook's own container has too",
        ),
        (
            singleuser(extraContainers=[{"name": "a", "image": "b", "env": [{"value": "c"}]}]),
            "singleuser.extraContainers[0].env[0]: must have name, which must be text",
        ),
        (singleuser(extraEnv={"A": ["b"]}), "singleuser.extraEnv.A: must be a single value or a map, not a list"),
        (
            singleuser(extraContainers=[{"name": "a", "image": "b", "env": "c", "resources": {"limits": 1}}]),
            "singleuser.extraContainers[0].resources.limits: must be a map, not a number",
        ),
        (
            singleuser(initContainers=[{"name": "a", "image": "b"}], extraContainers=[{"name": "a", "image": "b"}]),
            "singleuser.extraContainers[0]: has the name 'a', which singleuser.initContainers[0] has too",
        ),
        (
            singleuser(storage={"extraVolumes": [{"name": "a", "persistentVolumeClaim": "b"}]}),
            "singleuser.storage.extraVolumes[0].persistentVolumeClaim: must be a map, not text",
        ),
    ],
)
def test_values_of_another_form_are_named_too(
    more: dict[str, Any], problem: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values(singleuser(lifecycleHooks={"a": 1}), more)))
    assert main(["lint", "-f", str(file)]) == 1
    err = capsys.readouterr().err
    assert problem in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("hub", "key", "instead"),
    [
        ({"extraConfig": {"10-site": None}}, "extraConfig.10-site", 'Write "" instead'),
        ({"config": {"GitHubOAuthenticator": None}}, "config.GitHubOAuthenticator", "Write {} instead"),
        ({"services": {"grader": None}}, "services.grader", "Take the key out"),
        ({"loadRoles": {"grader": None}}, "loadRoles.grader", "Take the key out"),
    ],
)
def test_a_null_with_which_the_hub_does_not_start_is_a_problem(
    hub: dict[str, Any], key: str, instead: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Seen with the chart 4.4.0 and helm 3.19: `TypeError: exec() arg 1 must be a string`."""
    file = tmp_path / "site.yaml"
    harmless = {"singleuser": {"uid": None}, "prePuller": {"extraImages": {"a": None}}}
    file.write_text(yaml.safe_dump(merge_values(OWN_IMAGE, {"hub": hub}, harmless)))
    assert main(["lint", "-f", str(BASE), "-f", str(file)]) == 1
    problems = capsys.readouterr().err.strip().splitlines()
    assert len(problems) == 1
    assert f"hub.{key}: must not be null" in problems[0]
    assert instead in problems[0]


def test_a_problem_that_another_one_hides_has_its_own_index() -> None:
    home = {"name": "volume-{user_server}", "mountPath": "/home/jovyan"}
    found = values(
        singleuser(
            storage={"type": "dynamic"},
            initContainers=[
                {"name": "own", "image": "b", "command": ["chown", "1", "/x"], "securityContext": {"runAsUser": 0}},
                {"name": "fill", "image": "b", "volumeMounts": [home]},
                {"name": "fine", "image": "b"},
            ],
        )
    )
    report = checked(found)
    messages = {problem.path: problem.message for problem in report.problems}
    assert "Remove volumeMounts[0]" in messages["singleuser.initContainers[1]"]
    after = changed(found, report.changes)
    assert [container["name"] for container in after["singleuser"]["initContainers"]] == ["fill", "fine"]
    assert checked(after).problems == []


def test_what_another_problem_removes_has_no_problem_of_its_own() -> None:
    more, key, _ = PROBLEMS["shared data below the homes"]
    assert [problem.path for problem in checked(values(more)).problems] == [key]


@pytest.mark.parametrize(
    "line", ["open('/var/run/no-such-file')", "import a_package_of_the_hub", "spawner.user.no_such_thing()"]
)
def test_a_hook_that_fails_hides_no_problems_of_the_pod(line: str) -> None:
    hook = program("def hook(spawner):", f"  {line}", "c.KubeSpawner.pre_spawn_hook = hook")
    report = checked(values(hook, singleuser(extraPodConfig={"hostNetwork": True})))
    assert "singleuser.extraPodConfig.hostNetwork" in {problem.path for problem in report.problems}
    assert "hub.extraConfig.10-site" in {problem.path for problem in (*report.problems, *report.advice)}


def test_advice_about_a_replaced_value_has_its_own_key() -> None:
    lines = ("c.Spawner.default_url = '/x'", "c.KubeSpawner.priority_class_name = 'high'")
    report = checked(values(program(*lines), singleuser(cmd=["start"], defaultUrl="/lab")))
    advice = {problem.path: problem.message for problem in report.advice}
    assert "c.Spawner.default_url" in advice["singleuser.defaultUrl"]
    assert "singleuser.cmd" not in advice
    of_priority = checked(values({"scheduling": {"podPriority": {"enabled": True}}})).advice
    assert [problem.path for problem in of_priority] == ["scheduling.podPriority.enabled"]
    assert of_priority[0].message.startswith("c.KubeSpawner.priority_class_name is 'jhub-default-priority'")


def test_what_the_chart_and_the_hub_ignore_is_advice() -> None:
    config = {"KubeSpawner": {"mem_limitt": "1G", "singleuser_uid": None}, "JupyterHub": {"services": []}}
    report = checked(values({"hub": {"config": config}}))
    assert report.problems == []
    advice = {problem.path: problem.message for problem in report.advice}
    assert "Perhaps mem_limit" in advice["hub.config.KubeSpawner.mem_limitt"]
    assert "Use hub.services" in advice["hub.config.JupyterHub.services"]
    assert "hub.config.KubeSpawner.singleuser_uid" not in advice


def test_problems_of_settings_hide_no_problems_of_the_chart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    volume = {"extraVolumes": [{"name": "v", "csi": {"driver": "known"}}, {"name": "w", "csi": {"driver": "other"}}]}
    settings = {"queus": {}, "profiles": {"small": {"cpu": "many"}}, "pods": {"allow": {"csi": {"known": "ro"}}}}
    file = tmp_path / "values.yaml"
    file.write_text(
        yaml.safe_dump(
            values(singleuser(serviceAccountName="cloud", storage=volume), {"custom": {"research": settings}})
        )
    )
    assert main(["lint", "-f", str(file)]) == 1
    err = capsys.readouterr().err
    named = [line.partition(": ")[2].partition(":")[0] for line in err.splitlines() if "advice" not in line]
    assert named == [
        "profiles.small.cpu",
        "queus",
        "singleuser.serviceAccountName",
        "singleuser.storage.extraVolumes[1]",
    ]


def test_values_from_a_pipe_are_read_once_for_all_checks() -> None:
    found = values(singleuser(serviceAccountName="cloud"), {"custom": {"research": {"queus": {}}}})
    lint = "from jupyter_research_spawner.cli import main; raise SystemExit(main(['lint', '-f', '-']))"
    command = [sys.executable, "-c", lint]
    ended = subprocess.run(command, input=yaml.safe_dump(found), text=True, capture_output=True, check=False)
    assert ended.returncode == 1
    assert ": queus: there is no such setting" in ended.stderr
    assert ": singleuser.serviceAccountName: is 'cloud'" in ended.stderr


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ('configure(c, {"sorces": {}})', "sorces: there is no such setting"),
        ('configure(c, [z2jh.get_config("custom.research"), {"queues": {"q": {"share": 0}}}])', "queues.q.share: "),
        ('configure(c, z2jh.get_config("custom.research"), managed_batch=True)', "managed_batch: requires settings in"),
    ],
)
def test_settings_that_a_program_takes_from_elsewhere_are_checked_too(call: str, problem: str) -> None:
    lines = "import z2jh", "from jupyter_research_spawner import configure", call
    report = checked(values({"hub": {"extraConfig": {"z-research": "\n".join(lines)}}}))
    assert {found.path for found in report.problems} == {"hub.extraConfig.z-research"}
    assert f"its call of configure is refused: {problem}" in report.problems[0].message


def test_settings_in_a_file_of_the_hubs_pod_are_advice() -> None:
    lines = "from jupyter_research_spawner import configure", 'configure(c, "/etc/research/no-such-site.yaml")'
    report = checked(values({"hub": {"extraConfig": {"z-research": "\n".join(lines)}}}))
    assert report.problems == []
    assert "no-such-site.yaml: cannot be read" in str(report.advice[0])


def test_a_program_that_needs_one_that_could_not_run_is_no_problem() -> None:
    late = {"hub": {"extraConfig": {"20": "c.KubeSpawner.cmd = OF_THE_PACKAGE"}}}
    report = checked(values(program("from a_package_of_the_hub import OF_THE_PACKAGE"), late))
    assert report.problems == []
    assert [problem.path for problem in report.advice] == ["hub.extraConfig.10-site", "hub.extraConfig.20"]


@pytest.mark.parametrize("parent", ["jupyterhub", "binderhub.jupyterhub", "daskhub.basehub.jupyterhub"])
def test_values_of_a_chart_that_depends_on_the_chart(
    parent: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found: dict[str, Any] = values(singleuser(serviceAccountName="cloud"))
    for key in reversed(parent.split(".")):
        found = {key: found, "global": {}}
    file, more = tmp_path / "values.yaml", tmp_path / "more.yaml"
    file.write_text(yaml.safe_dump(found))
    more.write_text("nfs: {enabled: true}\n")
    assert main(["lint", "-f", str(file), "-f", str(more)]) == 1
    assert ": singleuser.serviceAccountName: is 'cloud'" in capsys.readouterr().err


def test_settings_beside_the_values_of_the_hub_are_not_its_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file, settings = tmp_path / "values.yaml", tmp_path / "research.yaml"
    file.write_text(yaml.safe_dump({"hubs": {"jupyterhub": {"singleuser": {}}}}))
    settings.write_text(yaml.safe_dump({"custom": read(BASE)["custom"]}))
    assert main(["lint", "-f", str(file), "-f", str(settings)]) == 1
    assert capsys.readouterr().err == (
        f"{settings}:2: custom.research: is beside hubs.jupyterhub, so the hub does not get it. "
        "Move it to hubs.jupyterhub.custom.research\n"
    )


def test_what_programs_print_is_not_in_the_report(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    hook = program("print('loud')", "c.KubeSpawner.pre_spawn_hook = lambda spawner: print('louder')")
    file.write_text(yaml.safe_dump(values(hook)))
    assert main(["lint", "-f", str(file)]) == 0
    out, err = capsys.readouterr()
    assert ("loud" in out, "louder" in err) == (False, True)
    file.write_text(yaml.safe_dump(values(hook, singleuser(serviceAccountName="cloud"))))
    assert main(["lint", "-f", str(file)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.splitlines().count("loud")) == ("", 1), "the programs run once more without the problem"


def test_problems_are_in_the_order_of_lines_and_advice_comes_last(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "values.yaml"
    extra = singleuser(uid=0, memory={"limit": "1G"}, cloudMetadata={"blockWithIptables": True}, storage={"type": "x"})
    file.write_text(yaml.safe_dump(values(extra, program("import a_package"), singleuser(serviceAccountName="cloud"))))
    assert main(["lint", "-f", str(file)]) == 1
    lines = capsys.readouterr().err.splitlines()
    placed = [(": advice: " in line, int(line.removeprefix(f"{file}:").partition(":")[0])) for line in lines]
    assert placed == sorted(placed)
    assert {advice for advice, _ in placed} == {False, True}


@pytest.mark.parametrize("key", ["hub", "singleuser"])
def test_values_without_programs_are_checked_like_those_of_a_hub(
    key: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings, part = tmp_path / "research.yaml", tmp_path / "part.yaml"
    settings.write_text(yaml.safe_dump({"custom": values()["custom"]}))
    assert main(["lint", "-f", str(settings)]) == 0
    assert capsys.readouterr().out.startswith("No mistakes.")
    part.write_text(yaml.safe_dump({key: {}}))
    assert main(["lint", "-f", str(part), "-f", str(settings)]) == 1
    err = capsys.readouterr().err
    for named in (
        "hub.extraConfig: no program calls jupyter_research_spawner.configure",
        "singleuser.cloudMetadata.blockWithIptables: is true",
        "singleuser.storage.type: is dynamic",
        "hub.services.batch: is missing",
        "hub.image: has no name, so the hub runs quay.io/jupyterhub/k8s-hub",
    ):
        assert named in err
