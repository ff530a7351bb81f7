"""check: each rule with the one edit of a good manifest that it is there for, and what admins may add."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from samples import Json, decide, notebook_pod, person, site_with

from jupyter_research_spawner.jobs.notebook import SLOTS
from jupyter_research_spawner.plan import Plan
from jupyter_research_spawner.pod import check, compose, problems, secret_prerequisites
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.shape import Slots, Template

ALLOWED = {
    "claims": {"software": "ro", "scratch": "rw"},
    "host_paths": {"/cvmfs": "ro", "/scratch": "rw"},
    "secrets": {"s3": True, "old": False},
    "scheduling_gates": {"example.org/quota": True, "example.org/old": False},
    "fields": {"readinessGates": True, "overhead": False, "nodeName": True, "hostNetwork": True},
}
SITE = site_with({"pods": {"allow": ALLOWED}, "batch": {"url": "http://batch"}})
PLAN = decide(SITE, person("alice"))
NUMA = decide(SITE, person("alice"), profile="a100")
# Besides the notebook, containers[0], a sidecar and an init container, as a site's hook might have added them.
AMOUNTS = {"limits": {"cpu": "100m", "memory": "64Mi"}}


def with_company() -> Json:
    pod = notebook_pod()
    pod["spec"]["containers"].append({"name": "proxy", "image": "proxy:1", "resources": AMOUNTS})
    pod["spec"]["initContainers"] = [{"name": "prepare", "image": "busybox", "resources": AMOUNTS}]
    return pod


GOOD = compose(PLAN, with_company(), SLOTS)
GOOD_NUMA = compose(NUMA, with_company(), SLOTS)

Edit = Callable[[Json], None]
Step = str | int

MAIN = ("spec", "containers", 0)
SIDECAR = ("spec", "containers", 1)
# Our own look for the home is the first.
LOOK = ("spec", "initContainers", 0)
INIT = ("spec", "initContainers", 1)
POD_CONTEXT = ("spec", "securityContext")


def walk(found: Any, steps: tuple[Step, ...]) -> Any:
    for step in steps:
        found = found.setdefault(step, {}) if isinstance(found, dict) else found[step]
    return found


def put(*steps: Step, to: Any) -> Edit:
    def edit(pod: Json) -> None:
        walk(pod, steps[:-1])[steps[-1]] = copy.deepcopy(to)

    return edit


def drop(*steps: Step) -> Edit:
    def edit(pod: Json) -> None:
        del walk(pod, steps[:-1])[steps[-1]]

    return edit


def add(*steps: Step, item: Any) -> Edit:
    def edit(pod: Json) -> None:
        walk(pod, steps[:-1]).setdefault(steps[-1], []).append(copy.deepcopy(item))

    return edit


def both(*edits: Edit) -> Edit:
    def edit(pod: Json) -> None:
        for one in edits:
            one(pod)

    return edit


def volume(source: Json, *, at: str = "/mnt/more", into: tuple[Step, ...] = MAIN, **mount: Any) -> Edit:
    """A volume, and a mount of it."""
    return both(
        add("spec", "volumes", item={"name": "more", **source}),
        add(*into, "volumeMounts", item={"name": "more", "mountPath": at, **mount}),
    )


def claim(name: str) -> Json:
    return {"persistentVolumeClaim": {"claimName": name}}


def mount_of(path: str, pod: Json = GOOD) -> int:
    return [mount["mountPath"] for mount in pod["spec"]["containers"][0]["volumeMounts"]].index(path)


def volume_of(name: str) -> int:
    return [found["name"] for found in GOOD["spec"]["volumes"]].index(name)


def env_of(name: str) -> int:
    return [entry["name"] for entry in GOOD["spec"]["containers"][0]["env"]].index(name)


MORE_MOUNT = len(GOOD["spec"]["containers"][0]["volumeMounts"])
MORE_ENV = len(GOOD["spec"]["containers"][0]["env"])
MAIN_MORE = f"spec.containers[0].volumeMounts[{MORE_MOUNT}]"
MAIN_CONTEXT = "spec.containers[0].securityContext"
INIT_CONTEXT = "spec.initContainers[1].securityContext"
OURS = "research-spawner/"

MUST_NOT: dict[str, tuple[Edit, str]] = {
    "a number as a variable": (
        add(*MAIN, "env", item={"name": "N", "value": 2}),
        f"spec.containers[0].env[{MORE_ENV}].value",
    ),
    # Who the pod is.
    "uid of root": (put(*POD_CONTEXT, "runAsUser", to=0), "spec.securityContext.runAsUser"),
    "no uid": (drop(*POD_CONTEXT, "runAsUser"), "spec.securityContext.runAsUser"),
    "uid as text": (put(*POD_CONTEXT, "runAsUser", to="20001"), "spec.securityContext.runAsUser"),
    "uid with a point": (put(*POD_CONTEXT, "runAsUser", to=20001.0), "spec.securityContext.runAsUser"),
    "another gid": (put(*POD_CONTEXT, "runAsGroup", to=100), "spec.securityContext.runAsGroup"),
    "no gid": (drop(*POD_CONTEXT, "runAsGroup"), "spec.securityContext.runAsGroup"),
    "root is fine": (put(*POD_CONTEXT, "runAsNonRoot", to=False), "spec.securityContext.runAsNonRoot"),
    "root is not said": (drop(*POD_CONTEXT, "runAsNonRoot"), "spec.securityContext.runAsNonRoot"),
    "1 is not true": (put(*POD_CONTEXT, "runAsNonRoot", to=1), "spec.securityContext.runAsNonRoot"),
    "a group more": (
        put(*POD_CONTEXT, "supplementalGroups", to=[20500, 20602, 20600]),
        "spec.securityContext.supplementalGroups",
    ),
    "a group less": (put(*POD_CONTEXT, "supplementalGroups", to=[20500]), "spec.securityContext.supplementalGroups"),
    "no groups": (drop(*POD_CONTEXT, "supplementalGroups"), "spec.securityContext.supplementalGroups"),
    "the image's groups too": (
        put(*POD_CONTEXT, "supplementalGroupsPolicy", to="Merge"),
        "spec.securityContext.supplementalGroupsPolicy",
    ),
    "no policy for groups": (
        drop(*POD_CONTEXT, "supplementalGroupsPolicy"),
        "spec.securityContext.supplementalGroupsPolicy",
    ),
    "a file system group": (put(*POD_CONTEXT, "fsGroup", to=100), "spec.securityContext.fsGroup"),
    "sysctls": (put(*POD_CONTEXT, "sysctls", to=[{"name": "a", "value": "1"}]), "spec.securityContext.sysctls"),
    "SELinux of the pod": (
        put(*POD_CONTEXT, "seLinuxOptions", to={"type": "spc_t"}),
        "spec.securityContext.seLinuxOptions",
    ),
    "no seccomp for the pod": (
        put(*POD_CONTEXT, "seccompProfile", to={"type": "Unconfined"}),
        "spec.securityContext.seccompProfile",
    ),
    # Who its containers are.
    "main as root": (put(*MAIN, "securityContext", "runAsUser", to=0), f"{MAIN_CONTEXT}.runAsUser"),
    "sidecar as root": (
        put(*SIDECAR, "securityContext", "runAsUser", to=0),
        "spec.containers[1].securityContext.runAsUser",
    ),
    "init container as root": (put(*INIT, "securityContext", "runAsUser", to=0), f"{INIT_CONTEXT}.runAsUser"),
    "an ephemeral container as root": (
        both(
            put("spec", "ephemeralContainers", to=[copy.deepcopy(GOOD["spec"]["containers"][1])]),
            put("spec", "ephemeralContainers", 0, "name", to="debug"),
            put("spec", "ephemeralContainers", 0, "securityContext", "runAsUser", to=0),
        ),
        "spec.ephemeralContainers[0].securityContext.runAsUser",
    ),
    "main's uid is true": (put(*MAIN, "securityContext", "runAsUser", to=True), f"{MAIN_CONTEXT}.runAsUser"),
    "main in another group": (put(*MAIN, "securityContext", "runAsGroup", to=0), f"{MAIN_CONTEXT}.runAsGroup"),
    "root is fine in main": (put(*MAIN, "securityContext", "runAsNonRoot", to=False), f"{MAIN_CONTEXT}.runAsNonRoot"),
    "privileged": (put(*INIT, "securityContext", "privileged", to=True), f"{INIT_CONTEXT}.privileged"),
    "privileged in words": (put(*INIT, "securityContext", "privileged", to="true"), f"{INIT_CONTEXT}.privileged"),
    "setuid programs": (
        put(*MAIN, "securityContext", "allowPrivilegeEscalation", to=True),
        f"{MAIN_CONTEXT}.allowPrivilegeEscalation",
    ),
    "setuid programs are not said": (
        drop(*MAIN, "securityContext", "allowPrivilegeEscalation"),
        f"{MAIN_CONTEXT}.allowPrivilegeEscalation",
    ),
    "a capability": (
        put(*MAIN, "securityContext", "capabilities", "add", to=["SYS_ADMIN"]),
        f"{MAIN_CONTEXT}.capabilities.add",
    ),
    "a dropped capability kept": (
        put(*MAIN, "securityContext", "capabilities", "drop", to=["NET_RAW"]),
        f"{MAIN_CONTEXT}.capabilities.drop",
    ),
    "no word on capabilities": (
        drop(*MAIN, "securityContext", "capabilities"),
        f"{MAIN_CONTEXT}.capabilities.drop",
    ),
    "drop is text": (
        put(*MAIN, "securityContext", "capabilities", "drop", to="ALL"),
        f"{MAIN_CONTEXT}.capabilities.drop",
    ),
    "an unmasked /proc": (put(*MAIN, "securityContext", "procMount", to="Unmasked"), f"{MAIN_CONTEXT}.procMount"),
    "no seccomp": (
        put(*MAIN, "securityContext", "seccompProfile", to={"type": "Unconfined"}),
        f"{MAIN_CONTEXT}.seccompProfile",
    ),
    "no AppArmor": (
        put(*MAIN, "securityContext", "appArmorProfile", to={"type": "Unconfined"}),
        f"{MAIN_CONTEXT}.appArmorProfile",
    ),
    "no AppArmor the old way": (
        put("metadata", "annotations", "container.apparmor.security.beta.kubernetes.io/notebook", to="unconfined"),
        "metadata.annotations.container.apparmor.security.beta.kubernetes.io/notebook",
    ),
    "a user namespace the runtime's way": (
        put("metadata", "annotations", "io.kubernetes.cri-o.userns-mode", to="auto"),
        "metadata.annotations.io.kubernetes.cri-o.userns-mode",
    ),
    "SELinux of main": (
        put(*MAIN, "securityContext", "seLinuxOptions", to={"type": "spc_t"}),
        f"{MAIN_CONTEXT}.seLinuxOptions",
    ),
    # What is known of containers.
    "variables from elsewhere": (
        put(*MAIN, "envFrom", to=[{"configMapRef": {"name": "any"}}]),
        "spec.containers[0].envFrom",
    ),
    "a raw device": (
        put(*MAIN, "volumeDevices", to=[{"name": "more", "devicePath": "/dev/sda"}]),
        "spec.containers[0].volumeDevices",
    ),
    "a field of containers that nobody knows": (put(*INIT, "newField", to=1), "spec.initContainers[1].newField"),
    "a port of the node": (
        put(*MAIN, "ports", 0, "hostPort", to=8888),
        "spec.containers[0].ports[0].hostPort",
    ),
    "a probe of another host": (
        put(*MAIN, "livenessProbe", to={"httpGet": {"host": "169.254.169.254", "port": 80}}),
        "spec.containers[0].livenessProbe.httpGet.host",
    ),
    "a readiness probe of another host": (
        put(*MAIN, "readinessProbe", to={"tcpSocket": {"host": "10.0.0.1", "port": 80}}),
        "spec.containers[0].readinessProbe.tcpSocket.host",
    ),
    "a startup probe of another host": (
        put(*SIDECAR, "startupProbe", to={"httpGet": {"host": "10.0.0.1", "port": 80}}),
        "spec.containers[1].startupProbe.httpGet.host",
    ),
    "a hook that asks another host": (
        put(*MAIN, "lifecycle", to={"postStart": {"httpGet": {"host": "169.254.169.254", "port": 80}}}),
        "spec.containers[0].lifecycle.postStart.httpGet.host",
    ),
    "a last hook that asks another host": (
        put(*MAIN, "lifecycle", to={"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 80}}}),
        "spec.containers[0].lifecycle.preStop.tcpSocket.host",
    ),
    # The node and other people on it.
    "the node's network": (put("spec", "hostNetwork", to=True), "spec.hostNetwork"),
    "the node's processes": (put("spec", "hostPID", to=True), "spec.hostPID"),
    "the node's memory": (put("spec", "hostIPC", to=True), "spec.hostIPC"),
    "the node's network as 1": (put("spec", "hostNetwork", to=1), "spec.hostNetwork"),
    "a user namespace": (put("spec", "hostUsers", to=False), "spec.hostUsers"),
    "the sidecars' processes": (put("spec", "shareProcessNamespace", to=True), "spec.shareProcessNamespace"),
    "a node": (put("spec", "nodeName", to="node-1"), "spec.nodeName"),
    "an account": (put("spec", "serviceAccountName", to="hub"), "spec.serviceAccountName"),
    "an account the old way": (put("spec", "serviceAccount", to="hub"), "spec.serviceAccount"),
    "the account's token": (
        put("spec", "automountServiceAccountToken", to=True),
        "spec.automountServiceAccountToken",
    ),
    "no word on the account's token": (
        drop("spec", "automountServiceAccountToken"),
        "spec.automountServiceAccountToken",
    ),
    "resources of the pod": (put("spec", "resources", to={"limits": {"cpu": "64"}}), "spec.resources"),
    "devices of the pod": (put("spec", "resourceClaims", to=[{"name": "gpu"}]), "spec.resourceClaims"),
    "a priority by number": (put("spec", "priority", to=1000), "spec.priority"),
    "a preemption policy": (put("spec", "preemptionPolicy", to="Never"), "spec.preemptionPolicy"),
    "another system": (put("spec", "os", to={"name": "windows"}), "spec.os"),
    "a field that nobody knows": (put("spec", "newField", to={}), "spec.newField"),
    "a field that was switched off": (put("spec", "overhead", to={"cpu": "1"}), "spec.overhead"),
    "a gate": (put("spec", "schedulingGates", to=[{"name": "example.org/wait"}]), "spec.schedulingGates"),
    "a gate that was switched off": (
        put("spec", "schedulingGates", to=[{"name": "example.org/old"}]),
        "spec.schedulingGates",
    ),
    # How long.
    "longer": (put("spec", "activeDeadlineSeconds", to=28801), "spec.activeDeadlineSeconds"),
    "for ever": (drop("spec", "activeDeadlineSeconds"), "spec.activeDeadlineSeconds"),
    "no time": (put("spec", "activeDeadlineSeconds", to=0), "spec.activeDeadlineSeconds"),
    "as text": (put("spec", "activeDeadlineSeconds", to="1"), "spec.activeDeadlineSeconds"),
    "as true": (put("spec", "activeDeadlineSeconds", to=True), "spec.activeDeadlineSeconds"),
    # Which queue, whose.
    "another namespace": (put("metadata", "namespace", to="kube-system"), "metadata.namespace"),
    "another name": (put("metadata", "name", to="jupyter-bob"), "metadata.name"),
    "our label gone": (drop("metadata", "labels", f"{OURS}uid"), f"metadata.labels.{OURS}uid"),
    "our label changed": (put("metadata", "labels", f"{OURS}user", to="bob"), f"metadata.labels.{OURS}user"),
    "a label as if of ours": (put("metadata", "labels", f"{OURS}staff", to="1"), f"metadata.labels.{OURS}staff"),
    "an annotation as if of ours": (
        put("metadata", "annotations", f"{OURS}request", to="a-key"),
        f"metadata.annotations.{OURS}request",
    ),
    "passwd changed": (
        put("metadata", "annotations", f"{OURS}passwd", to="alice:x:0:0::/root:/bin/sh\n"),
        f"metadata.annotations.{OURS}passwd",
    ),
    "another queue": (
        put("metadata", "labels", "kueue.x-k8s.io/queue-name", to="backfill"),
        "metadata.labels.kueue.x-k8s.io/queue-name",
    ),
    "no queue": (
        drop("metadata", "labels", "kueue.x-k8s.io/queue-name"),
        "metadata.labels.kueue.x-k8s.io/queue-name",
    ),
    "another mark of the same scheduler": (
        put("metadata", "labels", "kueue.x-k8s.io/managed", to="false"),
        "metadata.labels.kueue.x-k8s.io/managed",
    ),
    "another scheduler's label": (
        put("metadata", "labels", "yunikorn.apache.org/queue", to="root.fast"),
        "metadata.labels.yunikorn.apache.org/queue",
    ),
    "another scheduler's annotation": (
        put("metadata", "annotations", "scheduling.volcano.sh/queue-name", to="fast"),
        "metadata.annotations.scheduling.volcano.sh/queue-name",
    ),
    "another scheduler": (put("spec", "schedulerName", to="volcano"), "spec.schedulerName"),
    "another priority": (put("spec", "priorityClassName", to="research-high"), "spec.priorityClassName"),
    "no priority": (drop("spec", "priorityClassName"), "spec.priorityClassName"),
    # How much.
    "more CPUs": (
        put(*MAIN, "resources", "limits", "cpu", to="64"),
        "resources of container 'notebook'",
    ),
    "a GPU beside the profile": (
        put(*MAIN, "resources", "limits", "nvidia.com/gpu", to="1"),
        "resources of container 'notebook'",
    ),
    "a second kind of GPU in a sidecar": (
        put(*SIDECAR, "resources", "limits", "nvidia.com/mig-1g.10gb", to="1"),
        "spec.containers[1].resources.nvidia.com/mig-1g.10gb",
    ),
    "huge pages in an init container": (
        put(*INIT, "resources", "requests", "hugepages-2Mi", to="1Gi"),
        "spec.initContainers[1].resources.hugepages-2Mi",
    ),
    "a device in a sidecar": (
        put(*SIDECAR, "resources", "claims", to=[{"name": "gpu"}]),
        "spec.containers[1].resources.claims",
    ),
    "a device in main": (put(*MAIN, "resources", "claims", to=[{"name": "gpu"}]), "resources of container 'notebook'"),
    "half a GPU by annotation": (
        put("metadata", "annotations", "gpu-fraction", to="0.5"),
        "metadata.annotations.gpu-fraction",
    ),
    "a MIG slice by annotation": (
        put("metadata", "annotations", "nvidia.com/mig-1g.10gb", to="1"),
        "metadata.annotations.nvidia.com/mig-1g.10gb",
    ),
    "devices that a scheduler would have given": (
        put("metadata", "annotations", "hami.io/vgpu-devices-to-allocate", to="GPU-1,NVIDIA,1,1:;"),
        "metadata.annotations.hami.io/vgpu-devices-to-allocate",
    ),
    "a device by the runtime's annotation": (
        put("metadata", "annotations", "cdi.k8s.io/gpu", to="nvidia.com/gpu=all"),
        "metadata.annotations.cdi.k8s.io/gpu",
    ),
    "all GPUs by environment": (
        add(*MAIN, "env", item={"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}),
        f"spec.containers[0].env[{MORE_ENV}]",
    ),
    "a GPU by environment in a sidecar": (
        add(*SIDECAR, "env", item={"name": "NVIDIA_VISIBLE_DEVICES", "value": "0"}),
        "spec.containers[1].env[1]",
    ),
    "other devices by environment": (
        add(*MAIN, "env", item={"name": "HABANA_VISIBLE_DEVICES", "value": "all"}),
        f"spec.containers[0].env[{MORE_ENV}]",
    ),
    "a MIG manager by environment": (
        add(*MAIN, "env", item={"name": "NVIDIA_MIG_CONFIG_DEVICES", "value": "all"}),
        f"spec.containers[0].env[{MORE_ENV}]",
    ),
    "no variable against the devices of the image": (put(*INIT, "env", to=None), "spec.initContainers[1].env"),
    "a profile of the node for seccomp": (
        put(*MAIN, "securityContext", "seccompProfile", to={"type": "Localhost", "localhostProfile": "jupyter.json"}),
        "spec.containers[0].securityContext.seccompProfile",
    ),
    "a profile of the node for AppArmor": (
        put(*POD_CONTEXT, "appArmorProfile", to={"type": "Localhost", "localhostProfile": "jupyter"}),
        "spec.securityContext.appArmorProfile",
    ),
    "a finalizer": (put("metadata", "finalizers", to=["example.com/keep"]), "metadata.finalizers"),
    "an owner": (
        put(
            "metadata",
            "ownerReferences",
            to=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u", "controller": True}],
        ),
        "metadata.ownerReferences",
    ),
    **{
        f"an annotation of a runtime, {key}": (
            put("metadata", "annotations", key, to="x"),
            f"metadata.annotations.{key}",
        )
        for key in (
            "run.oci.keep_original_groups",
            "io.katacontainers.config.hypervisor.kernel_params",
            "io.containerd.cri.runtime-handler",
            "org.systemd.property.DeviceAllow",
            "dev.gvisor.spec.mount.home.share",
            "io.kubernetes.cri-o.userns-mode",
        )
    },
    "a sidecar that begins below a mount": (
        both(
            add(*SIDECAR, "volumeMounts", item={"name": "research-claim-home", "mountPath": "/home"}),
            put(*SIDECAR, "workingDir", to="/home/bob/new"),
        ),
        "spec.containers[1].workingDir",
    ),
    "a GPU by environment from elsewhere": (
        add(
            *INIT,
            "env",
            item={"name": "AMD_VISIBLE_DEVICES", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "a"}}},
        ),
        "spec.initContainers[1].env[1]",
    ),
    # What keeps the runtime from making directories as root.
    "no look for the home": (put("spec", "initContainers", to=None), "spec.initContainers[0]"),
    "another look for the home": (put(*LOOK, "command", to=["true"]), "spec.initContainers[0].command"),
    "a look for the home with more words": (put(*LOOK, "args", to=["/", ""]), "spec.initContainers[0].args"),
    "a look for the home from within it": (
        put(*LOOK, "workingDir", to="/home/alice"),
        "spec.initContainers[0].workingDir",
    ),
    "a look for the home that comes too late": (
        lambda pod: pod["spec"]["initContainers"].reverse(),
        "spec.initContainers[0]",
    ),
    "a directory of the image": (put(*MAIN, "workingDir", to="/srv"), "workingDir of container 'notebook'"),
    "the image's own working directory": (drop(*MAIN, "workingDir"), "workingDir of container 'notebook'"),
    "another image": (put(*MAIN, "image", to="evil"), "image of container 'notebook'"),
    # What programs are told.
    "another HOME": (
        put(*MAIN, "env", env_of("HOME"), "value", to="/root"),
        "env of container 'notebook'",
    ),
    "a second HOME": (
        add(*MAIN, "env", item={"name": "HOME", "value": "/home/alice"}),
        "env of container 'notebook'",
    ),
    "no USER": (drop(*MAIN, "env", env_of("USER")), "env of container 'notebook'"),
    "a uid from elsewhere": (
        put(
            *MAIN,
            "env",
            env_of("NB_UID"),
            to={
                "name": "NB_UID",
                "value": "20001",
                "valueFrom": {"configMapKeyRef": {"name": "any", "key": "uid"}},
            },
        ),
        "env of container 'notebook'",
    ),
    "LD_PRELOAD": (
        add(*MAIN, "env", item={"name": "LD_PRELOAD", "value": "libnss_wrapper.so"}),
        f"spec.containers[0].env[{MORE_ENV}]",
    ),
    "NSS_WRAPPER_PASSWD in an init container": (
        add(*INIT, "env", item={"name": "NSS_WRAPPER_PASSWD", "value": "/tmp/passwd"}),
        "spec.initContainers[1].env[1]",
    ),
    "a secret that is not named": (
        add(*MAIN, "env", item={"name": "A", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}),
        f"spec.containers[0].env[{MORE_ENV}].valueFrom",
    ),
    "a secret without a name": (
        add(*MAIN, "env", item={"name": "A", "valueFrom": {"secretKeyRef": {"key": "token"}}}),
        f"spec.containers[0].env[{MORE_ENV}].valueFrom",
    ),
    "a value from a file": (
        add(*MAIN, "env", item={"name": "A", "valueFrom": {"fileKeyRef": {"path": "a"}}}),
        f"spec.containers[0].env[{MORE_ENV}].valueFrom.fileKeyRef",
    ),
    # What it sees.
    "a directory of the node": (volume({"hostPath": {"path": "/etc"}}), "spec.volumes[more].hostPath"),
    "below a directory that is allowed": (
        volume({"hostPath": {"path": "/cvmfs/../etc"}}, readOnly=True),
        "spec.volumes[more].hostPath",
    ),
    "somebody else's claim": (volume(claim("home-of-bob")), "spec.volumes[more].persistentVolumeClaim"),
    "a secret": (volume({"secret": {"secretName": "hub"}}), "spec.volumes[more].secret"),
    "a secret that was switched off": (volume({"secret": {"secretName": "old"}}), "spec.volumes[more].secret"),
    "a token": (
        volume({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
        "spec.volumes[more].projected",
    ),
    "a secret among others": (
        volume({"projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "hub"}}]}}),
        "spec.volumes[more].projected",
    ),
    "a bundle that is called as a secret": (
        volume({"projected": {"sources": [{"clusterTrustBundle": {"name": "s3", "path": "ca"}}]}}),
        "spec.volumes[more].projected",
    ),
    "another kind of volume": (volume({"nfs": {"server": "nas", "path": "/"}}), "spec.volumes[more].nfs"),
    "an image as volume": (volume({"image": {"reference": "evil"}}), "spec.volumes[more].image"),
    "an inline driver": (volume({"csi": {"driver": "secrets-store"}}), "spec.volumes[more].csi"),
    "two kinds at once": (volume({"emptyDir": {}, "hostPath": {"path": "/"}}), "spec.volumes[more]"),
    "no kind": (add("spec", "volumes", item={"name": "more"}), "spec.volumes[more]"),
    "our volume of another claim": (
        put("spec", "volumes", volume_of("research-claim-era5"), "persistentVolumeClaim", "claimName", to="home"),
        "spec.volumes[research-claim-era5]",
    ),
    "our accounts from elsewhere": (
        put("spec", "volumes", volume_of("research-accounts"), to={"name": "research-accounts", "emptyDir": {}}),
        "spec.volumes[research-accounts]",
    ),
    # Where, and whether it may write there.
    "no home": (drop(*MAIN, "volumeMounts", mount_of("/home")), "the mount /home"),
    "era5 twice, once writable": (
        volume(claim("era5"), at="/mnt/era5"),
        MAIN_MORE,
    ),
    "our own era5 twice": (
        add(*MAIN, "volumeMounts", item={"name": "research-claim-era5", "mountPath": "/mnt/era5"}),
        MAIN_MORE,
    ),
    "the home at another path": (
        add(*MAIN, "volumeMounts", item={"name": "research-claim-home", "mountPath": "/mnt/home"}),
        MAIN_MORE,
    ),
    "the home of bob by subPath": (
        add(*MAIN, "volumeMounts", item={"name": "research-claim-home", "mountPath": "/mnt/h", "subPath": "bob"}),
        MAIN_MORE,
    ),
    "a home by an expression": (
        add(
            *MAIN,
            "volumeMounts",
            item={"name": "research-claim-home", "mountPath": "/mnt/h", "subPathExpr": "$(WHOSE)"},
        ),
        MAIN_MORE,
    ),
    "era5 writable in a sidecar": (
        add(*SIDECAR, "volumeMounts", item={"name": "research-claim-era5", "mountPath": "/data/era5"}),
        "spec.containers[1].volumeMounts[0]",
    ),
    "a home in a sidecar by subPath": (
        add(*SIDECAR, "volumeMounts", item={"name": "research-claim-home", "mountPath": "/home", "subPath": "bob"}),
        "spec.containers[1].volumeMounts[0]",
    ),
    "/etc hidden": (volume({"configMap": {"name": "etc"}}, at="/etc"), f"{MAIN_MORE}.mountPath"),
    "/etc/passwd hidden": (
        volume({"configMap": {"name": "etc"}}, at="/etc/passwd", subPath="passwd"),
        f"{MAIN_MORE}.mountPath",
    ),
    "/etc/passwd hidden, by a dot": (
        volume({"configMap": {"name": "etc"}}, at="/etc/./passwd", subPath="passwd"),
        f"{MAIN_MORE}.mountPath",
    ),
    "/etc/passwd hidden, by a climb": (
        volume({"configMap": {"name": "etc"}}, at="/srv/../etc/passwd", subPath="passwd"),
        f"{MAIN_MORE}.mountPath",
    ),
    "/etc/passwd hidden, by two slashes": (
        volume({"configMap": {"name": "etc"}}, at="//etc/passwd", subPath="passwd"),
        f"{MAIN_MORE}.mountPath",
    ),
    "/etc/group hidden, by a slash": (
        volume({"configMap": {"name": "etc"}}, at="/etc/group/"),
        f"{MAIN_MORE}.mountPath",
    ),
    "everything hidden": (volume({"emptyDir": {}}, at="/"), f"{MAIN_MORE}.mountPath"),
    "no absolute path": (volume({"emptyDir": {}}, at="etc"), f"{MAIN_MORE}.mountPath"),
    "no path": (add(*MAIN, "volumeMounts", item={"name": "research-accounts"}), f"{MAIN_MORE}.mountPath"),
    "a directory over her home": (volume({"emptyDir": {}}, at="/home/alice"), f"{MAIN_MORE}.mountPath"),
    "a directory above a mount": (volume({"emptyDir": {}}, at="/data"), f"{MAIN_MORE}.mountPath"),
    "the client hidden": (volume({"emptyDir": {}}, at="/usr/local/bin"), f"{MAIN_MORE}.mountPath"),
    "a library that is loaded first": (
        volume({"configMap": {"name": "etc"}}, at="/etc/ld.so.preload", subPath="a"),
        f"{MAIN_MORE}.mountPath",
    ),
    "names from elsewhere": (
        volume({"configMap": {"name": "etc"}}, at="/etc/nsswitch.conf", subPath="a"),
        f"{MAIN_MORE}.mountPath",
    ),
    "a last message over passwd": (
        put(*MAIN, "terminationMessagePath", to="/etc/passwd"),
        "terminationMessagePath of the main container",
    ),
    "a last message in her home": (
        put(*MAIN, "terminationMessagePath", to="/home/alice/.bashrc"),
        "terminationMessagePath of the main container",
    ),
    "mounts that stay on the node": (
        volume({"emptyDir": {}}, mountPropagation="Bidirectional"),
        f"{MAIN_MORE}.mountPropagation",
    ),
    "a mount of nothing": (
        add(*MAIN, "volumeMounts", item={"name": "nothing", "mountPath": "/mnt/more"}),
        f"{MAIN_MORE}.name",
    ),
    "software to write on": (volume(claim("software")), f"{MAIN_MORE}.readOnly"),
    "software to write on in an init container": (
        volume(claim("software"), into=INIT),
        "spec.initContainers[1].volumeMounts[0].readOnly",
    ),
    "cvmfs to write on": (volume({"hostPath": {"path": "/cvmfs"}}), f"{MAIN_MORE}.readOnly"),
    # Not even in form.
    "labels are a list": (put("metadata", "labels", to=[]), "metadata.labels"),
    "a label is a number": (put("metadata", "labels", "app", to=1), "metadata.labels.app"),
    "two containers of one name": (put(*SIDECAR, "name", to="notebook"), "spec.containers[1].name"),
    "an init container named as main": (put(*INIT, "name", to="notebook"), "spec.containers[0].name"),
    "a container without a name": (drop(*SIDECAR, "name"), "spec.containers[1].name"),
    "no main container": (put(*MAIN, "name", to="nb"), "spec.containers"),
    "containers as a map": (put("spec", "containers", to={}), "spec.containers"),
    "two volumes of one name": (
        both(
            add("spec", "volumes", item={"name": "more", "emptyDir": {}}),
            add("spec", "volumes", item={"name": "more", "hostPath": {"path": "/"}}),
        ),
        f"spec.volumes[{len(GOOD['spec']['volumes']) + 1}].name",
    ),
    "a claim name that is a list": (
        volume({"persistentVolumeClaim": {"claimName": ["home"]}}),
        f"spec.volumes[{len(GOOD['spec']['volumes'])}].persistentVolumeClaim.claimName",
    ),
    "a group that is text": (
        put(*POD_CONTEXT, "supplementalGroups", to=["20500", "20602"]),
        "spec.securityContext.supplementalGroups[0]",
    ),
    "a null in a list": (add(*MAIN, "env", item=None), f"spec.containers[0].env[{MORE_ENV}]"),
    "no number": (put("spec", "x", to=float("nan")), "manifest"),
    "half a character": (put("spec", "hostname", to="\ud800"), "manifest"),
    "a thing of Python": (put("spec", "hostname", to=object()), "manifest"),
    "a key that is no text": (put("spec", 1, to="x"), "spec.1"),
    "a key that is no key": (put("spec", (1,), to="x"), "manifest"),
}


def edited(edit: Edit, good: Json = GOOD) -> Json:
    pod = copy.deepcopy(good)
    edit(pod)
    return pod


def paths(plan: Plan, pod: Json, slots: Slots = SLOTS) -> list[str]:
    return [path for path, _ in problems(plan, pod, slots)]


def test_what_compose_made_passes() -> None:
    assert problems(PLAN, GOOD, SLOTS) == []
    assert problems(NUMA, GOOD_NUMA, SLOTS) == []


@pytest.mark.parametrize(("edit", "path"), MUST_NOT.values(), ids=MUST_NOT.keys())
def test_one_edit_is_found_at_its_path(edit: Edit, path: str) -> None:
    pod = edited(edit)
    assert paths(PLAN, pod) == [path]
    with pytest.raises(Refusal) as refused:
        check(PLAN, pod, SLOTS)
    assert (refused.value.field, refused.value.status, refused.value.code) == (path, 503, "manifest")
    assert refused.value.message.startswith(f"Nothing was started: the pod's {path} ")
    assert refused.value.message.count("Nothing was started") == 1


MAY: dict[str, Edit] = {
    "groups in another order": put(*POD_CONTEXT, "supplementalGroups", to=[20602, 20500]),
    "an identity for the whole pod only": both(
        drop(*MAIN, "securityContext", "runAsUser"),
        drop(*MAIN, "securityContext", "runAsGroup"),
        drop(*MAIN, "securityContext", "runAsNonRoot"),
    ),
    "a sidecar that restarts": put(*INIT, "restartPolicy", to="Always"),
    "a root file system to read only": put(*MAIN, "securityContext", "readOnlyRootFilesystem", to=True),
    "a sidecar that begins in its image or in a mount": both(
        put(*SIDECAR, "workingDir", to="/srv"),
        put(*INIT, "workingDir", to="/"),
    ),
    "capabilities dropped one by one as well": put(
        *MAIN, "securityContext", "capabilities", "drop", to=["ALL", "NET_RAW"]
    ),
    "false where absent means false": both(
        put("spec", "hostNetwork", to=False),
        put("spec", "hostUsers", to=True),
        put(*MAIN, "securityContext", "privileged", to=False),
    ),
    "what the API server fills in": both(
        put(*LOOK, "imagePullPolicy", to="IfNotPresent"),
        put(*LOOK, "terminationMessagePath", to="/dev/termination-log"),
    ),
    "null where absent is meant": both(
        put(*INIT, "command", to=None),
        put("spec", "serviceAccountName", to=None),
        put("spec", "nodeName", to=None),
        put(*SIDECAR, "securityContext", "runAsUser", to=None),
    ),
    "ports": add(*MAIN, "ports", item={"containerPort": 8080, "hostPort": 0}),
    "a probe of itself": put(*MAIN, "livenessProbe", to={"httpGet": {"path": "/api", "port": 8888}}),
    "lifecycle": put(*MAIN, "lifecycle", to={"postStart": {"exec": {"command": ["true"]}}, "stopSignal": "SIGTERM"}),
    "env": add(*MAIN, "env", item={"name": "LANG", "value": "C.UTF-8"}),
    "env that is like ours": add(*MAIN, "env", item={"name": "home", "value": "/root"}),
    "env from the pod and a ConfigMap": both(
        add(*MAIN, "env", item={"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}),
        add(*MAIN, "env", item={"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "a"}}}),
    ),
    "env from a secret that is named": add(
        *MAIN, "env", item={"name": "A", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "key"}}}
    ),
    "no GPU by environment": add(*MAIN, "env", item={"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}),
    "HOME of a sidecar": add(*SIDECAR, "env", item={"name": "HOME", "value": "/tmp"}),
    "shared memory": volume({"emptyDir": {"medium": "Memory"}}, at="/dev/shm"),
    "an empty directory": volume({"emptyDir": {}}, at="/scratch/"),
    "a ConfigMap beside ours": volume({"configMap": {"name": "ca"}}, at="/etc/ssl/certs"),
    "a secret that is named": volume({"secret": {"secretName": "s3"}}),
    "several at once": volume(
        {"projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "s3"}}, {"downwardAPI": {}}]}}
    ),
    "software to read": volume(claim("software"), readOnly=True, subPath="2026"),
    "scratch to write on": volume(claim("scratch"), subPath="any"),
    "cvmfs to read": volume({"hostPath": {"path": "/cvmfs", "type": "Directory"}}, readOnly=True),
    "a disk of the node to write on": volume({"hostPath": {"path": "/scratch"}}),
    "mounts that come from the node": volume(
        {"hostPath": {"path": "/cvmfs"}}, readOnly=True, mountPropagation="HostToContainer"
    ),
    "her home in a sidecar, as in main": add(
        *SIDECAR, "volumeMounts", item={"name": "research-claim-home", "mountPath": "/home"}
    ),
    "a sidecar with its own /etc": volume({"configMap": {"name": "etc"}}, at="/etc", into=SIDECAR),
    "a last message elsewhere": put(*MAIN, "terminationMessagePath", to="/tmp/message"),
    "tolerations": add("spec", "tolerations", item={"key": "gpu", "operator": "Exists"}),
    "affinity": put("spec", "affinity", to={"nodeAffinity": {}}),
    "nodeSelector": put("spec", "nodeSelector", to={"zone": "a"}),
    "topology": put("spec", "topologySpreadConstraints", to=[{"maxSkew": 1}]),
    "a runtime class": put("spec", "runtimeClassName", to="gvisor"),
    "hosts and DNS": both(
        put("spec", "hostAliases", to=[{"ip": "10.0.0.1", "hostnames": ["nas"]}]),
        put("spec", "dnsPolicy", to="None"),
        put("spec", "dnsConfig", to={"nameservers": ["10.0.0.2"]}),
        put("spec", "hostname", to="alice"),
        put("spec", "subdomain", to="jupyter"),
        put("spec", "setHostnameAsFQDN", to=False),
    ),
    "pull secrets": add("spec", "imagePullSecrets", item={"name": "registry"}),
    "grace": put("spec", "terminationGracePeriodSeconds", to=60),
    "no service links": put("spec", "enableServiceLinks", to=False),
    "foreign labels and annotations": both(
        put("metadata", "labels", "hub.jupyter.org/network-access-hub", to="true"),
        put("metadata", "annotations", "example.org/note", to="{}"),
    ),
    "a gate that is named": put("spec", "schedulingGates", to=[{"name": "example.org/quota"}]),
    "a field that is named": put("spec", "readinessGates", to=[{"conditionType": "a"}]),
    "an earlier end": put("spec", "activeDeadlineSeconds", to=60),
    "temporary space for a sidecar": put(*SIDECAR, "resources", "limits", "ephemeral-storage", to="1Gi"),
    "more memory in a sidecar's limit": put(*SIDECAR, "resources", "requests", to={"memory": "1Mi"}),
}


@pytest.mark.parametrize("edit", MAY.values(), ids=MAY.keys())
def test_what_admins_may_add_passes(edit: Edit) -> None:
    assert problems(PLAN, edited(edit), SLOTS) == []


@pytest.mark.parametrize("key", sorted(ALLOWED["fields"]))
def test_what_gives_the_pod_away_cannot_be_allowed(key: str) -> None:
    found = paths(PLAN, edited(put("spec", key, to="node-1")))
    assert found == ([] if key == "readinessGates" else [f"spec.{key}"])


NUMA_MUST_NOT = {
    "a limit of none": put(*SIDECAR, "resources", to={"limits": {"cpu": "0", "memory": "1Gi"}}),
    "nothing said": drop(*SIDECAR, "resources"),
    "only CPUs": put(*SIDECAR, "resources", to={"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}),
    "less requested": put(*SIDECAR, "resources", "requests", "cpu", to="50m"),
    "no limit": drop(*SIDECAR, "resources", "limits", "memory"),
}


@pytest.mark.parametrize("edit", NUMA_MUST_NOT.values(), ids=NUMA_MUST_NOT.keys())
def test_one_container_that_is_not_guaranteed_unpins_all(edit: Edit) -> None:
    assert paths(NUMA, edited(edit, GOOD_NUMA)) == ["spec.containers[1].resources"]
    assert problems(PLAN, edited(edit), SLOTS) == []


def test_half_a_cpu_or_another_amount_on_main_is_not_the_profile_s() -> None:
    for amounts in ({"cpu": "15500m", "memory": "120Gi"}, {"cpu": "16", "memory": "120Gi"}):
        pod = edited(put(*MAIN, "resources", "requests", to=amounts), GOOD_NUMA)
        assert paths(NUMA, pod) == ["resources of container 'notebook'"]


def test_the_chart_s_own_container_is_refused_by_the_name_of_its_value() -> None:
    pod = notebook_pod()
    pod["spec"]["initContainers"] = [
        {
            "name": "block-cloud-metadata",
            "image": "quay.io/jupyterhub/k8s-network-tools:4.4.0",
            "securityContext": {"runAsUser": 0, "privileged": True, "capabilities": {"add": ["NET_ADMIN"]}},
        }
    ]
    sent = edited(put("spec", "initContainers", to=pod["spec"]["initContainers"]))
    for refuse in (partial(compose, PLAN, pod), partial(check, PLAN, sent)):
        with pytest.raises(Refusal, match=r"singleuser\.cloudMetadata\.blockWithIptables: false"):
            refuse(SLOTS)


def test_a_claim_of_hers_that_everybody_may_mount_can_be_mounted_otherwise() -> None:
    decided = decide(site_with({"pods": {"allow": {"claims": {"era5": "ro"}}}}), person("alice"))
    pod = compose(decided, with_company(), SLOTS)
    assert problems(decided, edited(volume(claim("era5"), readOnly=True), pod), SLOTS) == []
    [path] = paths(decided, edited(volume(claim("era5")), pod))
    assert path.endswith(".readOnly")


def test_what_is_no_json_is_told_as_that() -> None:
    with pytest.raises(Refusal, match="manifest is not valid JSON: Object of type object is not JSON serializable"):
        check(PLAN, edited(put("spec", "hostname", to=object())), SLOTS)


def test_annotations_of_ours_have_a_bound() -> None:
    # `plan` makes none so long; what is added to one later might.
    long = replace(PLAN, passwd="x" * 70_000)
    assert paths(long, compose(long, with_company(), SLOTS)) == ["metadata.annotations"]


def test_a_working_directory_that_was_asked_for_is_kept() -> None:
    decided = decide(SITE, person("alice"), workdir="/project/climate")
    pod = compose(decided, with_company(), SLOTS)
    assert pod["spec"]["containers"][0]["workingDir"] == "/project/climate"
    assert problems(decided, pod, SLOTS) == []
    assert paths(decided, edited(put(*MAIN, "workingDir", to="/home"), pod)) == ["workingDir of container 'notebook'"]


def test_a_directory_below_a_mount_is_entered_by_the_program() -> None:
    decided = decide(SITE, person("alice"), workdir="/project/climate/2026")
    pod = with_company()
    pod["spec"]["containers"][0]["args"] = ["jupyterhub-singleuser"]
    pod = compose(decided, pod, SLOTS)
    assert pod["spec"]["containers"][0]["workingDir"] == "/home/alice"
    assert problems(decided, pod, SLOTS) == []
    for edit in (
        put(*MAIN, "args", to=["jupyterhub-singleuser"]),
        put(*MAIN, "workingDir", to="/project/climate/2026"),
    ):
        assert paths(decided, edited(edit, pod)) == ["workingDir of container 'notebook'"]


JOB_SLOTS = Slots((Template(("spec", "template"), "job"),))
JOB = decide(SITE, person("alice"), "job")
GOOD_JOB = compose(
    JOB,
    {
        "metadata": {},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [{"name": "job", "command": ["a"]}]}}},
    },
    JOB_SLOTS,
)
POD_OF_JOB = ("spec", "template")

JOB_MUST_NOT: dict[str, tuple[Edit, str]] = {
    "the object in another queue": (
        put("metadata", "labels", "kueue.x-k8s.io/queue-name", to="backfill"),
        "metadata.labels.kueue.x-k8s.io/queue-name",
    ),
    "the object as somebody else's": (
        put("metadata", "labels", f"{OURS}user", to="bob"),
        f"metadata.labels.{OURS}user",
    ),
    "the object in another scheduler's queue": (
        put("metadata", "annotations", "slurmjob.slinky.slurm.net/partition", to="gpu"),
        "metadata.annotations.slurmjob.slinky.slurm.net/partition",
    ),
    "the object with another wall time": (
        put("metadata", "annotations", f"{OURS}wall-time-hard", to="1"),
        f"metadata.annotations.{OURS}wall-time-hard",
    ),
    "the pod in a queue of its own": (
        put(*POD_OF_JOB, "metadata", "labels", "kueue.x-k8s.io/queue-name", to="climate"),
        "metadata.labels.kueue.x-k8s.io/queue-name",
    ),
    "the pod as root": (
        put(*POD_OF_JOB, "spec", "securityContext", "runAsUser", to=0),
        "spec.securityContext.runAsUser",
    ),
    "no template": (drop("spec", "template"), "spec.template"),
    "a template that is text": (put("spec", "template", to="x"), "spec.template"),
}


@pytest.mark.parametrize(("edit", "path"), JOB_MUST_NOT.values(), ids=JOB_MUST_NOT.keys())
def test_a_job_is_read_in_both_places(edit: Edit, path: str) -> None:
    assert problems(JOB, GOOD_JOB, JOB_SLOTS) == []
    assert paths(JOB, edited(edit, GOOD_JOB), JOB_SLOTS) == [path]


def test_what_the_kind_itself_writes_on_the_object_passes() -> None:
    assert (
        problems(JOB, edited(put("metadata", "annotations", f"{OURS}job-name", to="train"), GOOD_JOB), JOB_SLOTS) == []
    )


def test_a_mark_that_the_plan_does_not_make_is_refused_for_schedulers_without_any() -> None:
    plain = decide(site_with({"scheduler": {"kind": "plain"}}), person("alice"))
    pod = compose(plain, notebook_pod(), SLOTS)
    assert "schedulerName" not in pod["spec"]
    pod["spec"]["schedulerName"] = "chart-user-scheduler"
    assert paths(plain, pod) == ["spec.schedulerName"]
    assert "schedulerName" not in compose(plain, pod, SLOTS)["spec"]


def test_every_problem_is_told() -> None:
    pod = edited(both(put(*POD_CONTEXT, "runAsUser", to=0), put("spec", "hostPID", to=True)))
    assert paths(PLAN, pod) == ["spec.securityContext.runAsUser", "spec.hostPID"]


@pytest.mark.parametrize("manifest", [None, [], "pod", 1, {"spec": None}, {"spec": {"containers": None}}], ids=repr)
def test_what_is_no_pod_is_a_refusal(manifest: Any) -> None:
    assert len(problems(PLAN, manifest, SLOTS)) > 0
    with pytest.raises(Refusal):
        compose(PLAN, manifest, SLOTS)


@pytest.mark.parametrize(("name", "allowed"), [("jupyter.json", True), ("old.json", False), ("other.json", False)])
def test_profile_of_the_node_can_be_allowed_by_its_name(name: str, allowed: bool) -> None:
    settings = {"pods": {"allow": {"localhost_profiles": {"jupyter.json": True, "old.json": False}}}}
    decided = decide(site_with(settings), person("alice"))
    pod = compose(decided, with_company(), SLOTS)
    before = paths(decided, pod)
    profile = {"type": "Localhost", "localhostProfile": name}
    found = paths(decided, edited(put(*MAIN, "securityContext", "seccompProfile", to=profile), pod))
    path = "spec.containers[0].securityContext.seccompProfile"
    assert set(found) - set(before) == (set() if allowed else {path})


ALLOWED_BY_NAME = {"pods": {"allow": {"claims": {"claim-{user}": "ro"}, "secrets": {"eos-ticket-{user}": True}}}}


@pytest.mark.parametrize(("name", "allowed"), [("claim-alice", True), ("claim-bob", False), ("claim-{user}", False)])
def test_claim_of_the_user_is_allowed_by_a_pattern(name: str, allowed: bool) -> None:
    decided = decide(site_with(ALLOWED_BY_NAME), person("alice"))
    pod = compose(decided, with_company(), SLOTS)
    before = set(paths(decided, pod))
    found = set(paths(decided, edited(volume(claim(name), readOnly=True), pod))) - before
    assert bool(found) is not allowed
    writable = set(paths(decided, edited(volume(claim(name)), pod))) - before
    assert writable, "only read-only access is allowed"


@pytest.mark.parametrize(("name", "allowed"), [("eos-ticket-alice", True), ("eos-ticket-bob", False)])
def test_secret_of_the_user_is_allowed_by_a_pattern(name: str, allowed: bool) -> None:
    decided = decide(site_with(ALLOWED_BY_NAME), person("alice"))
    pod = compose(decided, with_company(), SLOTS)
    reference = {"secretKeyRef": {"name": name, "key": "token"}}
    sent = edited(add(*MAIN, "env", item={"name": "TICKET", "valueFrom": reference}), pod)
    assert bool(set(paths(decided, sent)) - set(paths(decided, pod))) is not allowed


@pytest.mark.parametrize("user", ["al.ice", "al_ice", "alice-", "a" * 30 + "."])
def test_pattern_matches_nothing_for_a_user_whose_name_cannot_be_in_it(user: str) -> None:
    allowed = site_with(ALLOWED_BY_NAME).pods.allow.of_user(user)
    assert (allowed.claims, allowed.secrets) == ({}, {})


@pytest.mark.parametrize("name", ["{user}", "a{name}", "A-{user}", "{user}{user}", "{user"])
def test_patterns_that_would_match_too_much_are_errors(name: str) -> None:
    with pytest.raises(SettingsError, match=r"pods\.allow\.claims"):
        site_with({"pods": {"allow": {"claims": {name: "ro"}}}})


OTHER_VOLUMES: Json = {
    "pods": {
        "allow": {
            "csi": {"cvmfs.csi.cern.ch": "ro", "scratch.csi.example.edu": "rw"},
            "nfs": {
                "nfs.example.edu:/software": "ro",
                "nfs.example.edu:/scratch/{user}": "rw",
                "[fd00::5]:/data": "rw",
            },
            "images": {"registry.example.edu/models:2026": True, "registry.example.edu/old:1": False},
            "secrets": {"ticket": True},
        }
    }
}


def csi(driver: str, **more: Any) -> Json:
    return {"csi": {"driver": driver, **more}}


def nfs(server: str, path: str) -> Json:
    return {"nfs": {"server": server, "path": path}}


def image(reference: str) -> Json:
    return {"image": {"reference": reference, "pullPolicy": "IfNotPresent"}}


@pytest.mark.parametrize(
    ("source", "read_only", "problem"),
    [
        (csi("cvmfs.csi.cern.ch", readOnly=True), True, None),
        (csi("cvmfs.csi.cern.ch", readOnly=True), False, "readOnly"),
        (csi("scratch.csi.example.edu", volumeAttributes={"size": "1Gi"}), False, None),
        (csi("scratch.csi.example.edu", nodePublishSecretRef={"name": "ticket"}), False, None),
        (csi("scratch.csi.example.edu", nodePublishSecretRef={"name": "other"}), False, "other"),
        (csi("other.csi.example.edu"), True, "pods.allow.csi"),
        (nfs("nfs.example.edu", "/software"), True, None),
        (nfs("nfs.example.edu", "/software"), False, "readOnly"),
        (nfs("nfs.example.edu", "/scratch/alice"), False, None),
        (nfs("nfs.example.edu", "/scratch/bob"), False, "pods.allow.nfs"),
        (nfs("nfs.example.edu", "/scratch/alice/../bob"), False, "pods.allow.nfs"),
        (nfs("nfs.example.edu", "/scratch/{user}"), False, "pods.allow.nfs"),
        (nfs("other.example.edu", "/software"), True, "pods.allow.nfs"),
        (nfs("fd00::5", "/data"), False, None),
        (image("registry.example.edu/models:2026"), False, None),
        (image("registry.example.edu/models:latest"), True, "pods.allow.images"),
        (image("registry.example.edu/old:1"), True, "pods.allow.images"),
    ],
)
def test_volumes_of_drivers_servers_and_images_are_allowed_by_name(
    source: Json, read_only: bool, problem: str | None
) -> None:
    decided = decide(site_with(OTHER_VOLUMES), person("alice"))
    pod = notebook_pod()
    pod["spec"]["volumes"] = [{"name": "more", **source}]
    mount = {"name": "more", "mountPath": "/more", **({"readOnly": True} if read_only else {})}
    pod["spec"]["containers"][0]["volumeMounts"] = [mount]
    found = problems(decided, compose(decided, pod, SLOTS), SLOTS)
    if problem is None:
        assert found == []
    else:
        [(path, why)] = found
        assert problem in f"{path} {why}"
    # Nothing is allowed by default.
    nothing = decide(SITE, person("alice"))
    assert problems(nothing, compose(nothing, pod, SLOTS), SLOTS) != []


@pytest.mark.parametrize("source", [{"csi": "x"}, {"nfs": []}, {"image": {"reference": 1}}, {"csi": {"driver": None}}])
def test_volumes_with_wrong_types_are_refused(source: Json) -> None:
    decided = decide(site_with(OTHER_VOLUMES), person("alice"))
    pod = notebook_pod()
    pod["spec"]["volumes"] = [{"name": "more", **source}]
    with pytest.raises(Refusal):
        check(decided, compose(decided, pod, SLOTS), SLOTS)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("nfs", "nfs.example.edu"),
        ("nfs", "nfs.example.edu:/a/../b"),
        ("nfs", "nfs.example.edu://a"),
        ("nfs", "nfs.example.edu:/{group}"),
        ("nfs", "{user}:/a"),
        ("nfs", "fd00::5:/a"),
        ("csi", "{user}.csi.example.edu"),
        ("images", "models {user}"),
    ],
)
def test_invalid_names_of_volumes_are_errors_of_the_settings(kind: str, name: str) -> None:
    with pytest.raises(SettingsError, match=rf"pods\.allow\.{kind}"):
        site_with({"pods": {"allow": {kind: {name: True if kind == "images" else "ro"}}}})


@pytest.mark.parametrize(("user", "fits"), [("al.ice", True), ("..", False), ("a/b", False), ("-a", False)])
def test_user_in_an_nfs_path_cannot_lead_elsewhere(user: str, fits: bool) -> None:
    exports = site_with(OTHER_VOLUMES).pods.allow.of_user(user).nfs
    assert (f"nfs.example.edu:/scratch/{user}" in exports) is fits
    assert "nfs.example.edu:/scratch/{user}" not in exports


SECRETS: Json = {
    "pods": {
        "allow": {"secrets": {"needed": True, "ticket-{user}": True, "token": "optional", "mine-{user}": "optional"}}
    }
}


def with_secrets(*names: str) -> Json:
    """Return a notebook's pod that mounts each secret, alone and projected, and has a variable of each."""
    pod = notebook_pod()
    pod["spec"]["volumes"] = [
        *({"name": f"v-{name}", "secret": {"secretName": name}} for name in names),
        {"name": "all", "projected": {"sources": [{"secret": {"name": name}} for name in names]}},
    ]
    source = [{"secretKeyRef": {"name": name, "key": "key"}} for name in names]
    pod["spec"]["containers"][0]["env"] += [
        {"name": f"SECRET_{index}", "valueFrom": found} for index, found in enumerate(source)
    ]
    return pod


def test_secrets_are_required_or_optional_as_the_settings_say() -> None:
    decided = decide(site_with(SECRETS), person("alice"))
    names = ("needed", "ticket-alice", "token", "mine-alice")
    pod = compose(decided, with_secrets(*names), SLOTS)
    assert problems(decided, pod, SLOTS) == []
    optional = {
        volume["name"]: volume["secret"].get("optional") for volume in pod["spec"]["volumes"] if "secret" in volume
    }
    assert optional == {"v-needed": None, "v-ticket-alice": None, "v-token": True, "v-mine-alice": True}
    (projected,) = (
        volume["projected"]["sources"]
        for volume in pod["spec"]["volumes"]
        if "projected" in volume and not volume["name"].startswith("research-")
    )
    assert [part["secret"].get("optional") for part in projected] == [None, None, True, True]
    references = [
        entry["valueFrom"]["secretKeyRef"] for entry in pod["spec"]["containers"][0]["env"] if "valueFrom" in entry
    ]
    assert [found.get("optional") for found in references] == [None, None, True, True]
    assert [str(one) for one in secret_prerequisites(pod, "jhub")] == [
        "Secret 'needed' in namespace 'jhub'",
        "Secret 'ticket-alice' in namespace 'jhub'",
    ]
    assert compose(decided, pod, SLOTS) == pod


def test_a_secret_that_a_hook_made_optional_is_not_required() -> None:
    pod = with_secrets("needed")
    pod["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "needed", "optional": True}}]
    pod["spec"]["containers"][0]["env"] = []
    decided = decide(site_with(SECRETS), person("alice"))
    assert secret_prerequisites(compose(decided, pod, SLOTS), "jhub") == ()


def test_optional_allows_no_other_secret() -> None:
    decided = decide(site_with(SECRETS), person("alice"))
    assert problems(decided, compose(decided, with_secrets("mine-bob"), SLOTS), SLOTS) != []
