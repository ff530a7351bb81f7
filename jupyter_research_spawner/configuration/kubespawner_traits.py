"""How this project treats each configurable trait of KubeSpawner and of JupyterHub's Spawner.

Written for JupyterHub 5.3 to 6.1, kubespawner 7.1, and the names that Zero to JupyterHub 4.4 (z2jh) gives to the traits
in its values.  A test compares the table with the installed versions, so a trait of a new version needs an entry here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

# kept: the trait works as in KubeSpawner, and the finished pod is checked.
# decided: the settings of the site decide instead, so the value of the trait has no effect.
# refused: the hub does not start with the trait, because it would change users' rights or make every start fail.
Verdict = Literal["kept", "decided", "refused"]


@dataclass(frozen=True)
class Trait:
    """One trait: its verdict, the reason, and the names that it has elsewhere.

    why: a clause that follows "because" for the verdicts "decided" and "refused", else a sentence or "".
    setting: the setting of the site that replaces the trait.
    chart: the keys in z2jh's values that set the trait.  A key that ends in `.` stands for all keys below it.
    remedy: the value to set in z2jh's values instead, if removing the key is not enough.
    harmless: z2jh's defaults of the trait.  A pattern stands for all strings that it matches.
    """

    verdict: Verdict
    why: str = ""
    setting: str = ""
    chart: tuple[str, ...] = ()
    remedy: str = ""
    harmless: tuple[Any, ...] = ()

    def is_harmless(self, value: Any) -> bool:
        """Return whether this value is a default of z2jh."""
        return any(
            bool(usual.fullmatch(value))
            if isinstance(usual, re.Pattern) and isinstance(value, str)
            else type(value) is type(usual) and value == usual
            for usual in self.harmless
        )


def _kept(*chart: str, why: str = "") -> Trait:
    return Trait("kept", why, chart=chart)


def _decided(why: str, *chart: str, setting: str = "", remedy: str = "", harmless: tuple[Any, ...] = ()) -> Trait:
    return Trait("decided", why, setting, chart, remedy, harmless)


def _refused(why: str, *chart: str, setting: str = "", remedy: str = "", harmless: tuple[Any, ...] = ()) -> Trait:
    return Trait("refused", why, setting, chart, remedy, harmless)


_FORM = "the form shows the profiles, queues and classes in the settings"
_TLS = "only internal_ssl uses it, which is refused"
_AMOUNTS = "profiles in the settings set the requests and limits of CPU, memory and GPUs"
_NO_USER_NAMESPACES = "only enable_user_namespaces uses it, which is refused"
_IDENTITY = "identity in the settings determines the {} of each pod"

TRAITS: dict[str, Trait] = {
    # The identity.
    "uid": _refused(
        _IDENTITY.format("uid"),
        "singleuser.uid",
        setting="identity",
        remedy="singleuser.uid: null",
        harmless=(1000,),
    ),
    "gid": _refused(_IDENTITY.format("gid"), setting="identity"),
    "fs_gid": _refused(
        "it would change the group of files on shared storage",
        "singleuser.fsGid",
        setting="identity",
        remedy="singleuser.fsGid: null",
        harmless=(100,),
    ),
    "supplemental_gids": _refused(_IDENTITY.format("groups"), setting="identity"),
    "privileged": _refused("a privileged container could become any user on the node"),
    "allow_privilege_escalation": _refused(
        "a setuid program would change the user's identity",
        "singleuser.allowPrivilegeEscalation",
        remedy="singleuser.allowPrivilegeEscalation: false",
    ),
    "service_account": _refused(
        "it would give every user the rights of that service account",
        "singleuser.serviceAccountName",
    ),
    "automount_service_account_token": _refused("users get no service account token"),
    "container_security_context": _kept(why="It must not change the identity or add rights."),
    "pod_security_context": _kept(why="It must not change the identity or add rights."),
    # Namespace, scheduler and node.
    "namespace": _refused(
        "namespaces.name in the settings is the namespace of all notebooks and jobs", setting="namespaces.name"
    ),
    "enable_user_namespaces": _refused("all pods of the site are in the namespace namespaces.name"),
    "user_namespace_annotations": _decided(_NO_USER_NAMESPACES),
    "user_namespace_labels": _decided(_NO_USER_NAMESPACES),
    "user_namespace_template": _decided(_NO_USER_NAMESPACES),
    "scheduler_name": _decided(
        "scheduler in the settings determines the scheduler of each pod",
        "scheduling.userScheduler.enabled",
        setting="scheduler",
        remedy="scheduling.userScheduler.enabled: false",
        harmless=(re.compile("(.*-)?user-scheduler"),),
    ),
    "priority_class_name": _decided(
        "each queue in the settings has its priority",
        "scheduling.podPriority.enabled",
        setting="queues.NAME.priority",
        remedy="scheduling.podPriority.enabled: false",
    ),
    "node_selector": _kept(
        "singleuser.nodeSelector", why="Only for notebooks; pods.base.nodeSelector is also for jobs."
    ),
    "tolerations": _kept("singleuser.extraTolerations", "scheduling.userPods.tolerations"),
    "node_affinity_preferred": _kept(
        "singleuser.extraNodeAffinity.preferred", "scheduling.userPods.nodeAffinity.matchNodePurpose"
    ),
    "node_affinity_required": _kept(
        "singleuser.extraNodeAffinity.required", "scheduling.userPods.nodeAffinity.matchNodePurpose"
    ),
    "pod_affinity_preferred": _kept("singleuser.extraPodAffinity.preferred"),
    "pod_affinity_required": _kept("singleuser.extraPodAffinity.required"),
    "pod_anti_affinity_preferred": _kept("singleuser.extraPodAntiAffinity.preferred"),
    "pod_anti_affinity_required": _kept("singleuser.extraPodAntiAffinity.required"),
    # What users choose.
    "profile_list": _refused(
        "users choose from the profiles in the settings",
        "singleuser.profileList",
        setting="profiles",
        remedy="singleuser.profileList: []",
    ),
    "apply_user_options": _refused(
        "profiles in the settings determine how user options are applied, so this function would never run",
        setting="profiles",
    ),
    "options_form": _decided(_FORM, setting="profiles"),
    "options_from_form": _decided(_FORM, setting="profiles"),
    "profile_form_template": _decided(_FORM, setting="profiles"),
    "additional_profile_form_template_paths": _decided(_FORM, setting="profiles"),
    "group_overrides": _kept(why="What the settings decide is set after it."),
    # Resources and time limits.
    "cpu_guarantee": _decided(_AMOUNTS, "singleuser.cpu.guarantee", setting="profiles.NAME.cpu"),
    "cpu_limit": _decided(_AMOUNTS, "singleuser.cpu.limit", setting="profiles.NAME.cpu"),
    "mem_guarantee": _decided(
        _AMOUNTS, "singleuser.memory.guarantee", setting="profiles.NAME.memory", harmless=("1G", 2**30)
    ),
    "mem_limit": _decided(_AMOUNTS, "singleuser.memory.limit", setting="profiles.NAME.memory"),
    "extra_resource_guarantees": _decided(_AMOUNTS, "singleuser.extraResource.guarantees", setting="profiles.NAME.gpu"),
    "extra_resource_limits": _decided(_AMOUNTS, "singleuser.extraResource.limits", setting="profiles.NAME.gpu"),
    "start_timeout": _decided(
        "hub.queue_limit limits the wait in the queue, and hub.boot_limit the time to boot",
        "singleuser.startTimeout",
        setting="hub.queue_limit and hub.boot_limit",
        harmless=(300,),
    ),
    "http_timeout": _kept(),
    "consecutive_failure_limit": _kept("hub.consecutiveFailureLimit", why="On JupyterHub 5, `configure` sets it to 0."),
    "poll_interval": _kept(),
    "poll_jitter": _kept(),
    "delete_grace_period": _kept(
        why="Default: `terminationGracePeriodSeconds` of the pod, which is 30 seconds in Kubernetes."
    ),
    "delete_stopped_pods": _kept(),
    # The container of the notebook.
    "image": _kept("singleuser.image.name", "singleuser.image.tag", why="For profiles without an image of their own."),
    "image_pull_policy": _kept("singleuser.image.pullPolicy"),
    "image_pull_secrets": _kept("singleuser.image.pullSecrets", "imagePullSecrets", "imagePullSecret."),
    "cmd": _kept("singleuser.cmd"),
    "args": _kept(),
    "working_dir": _kept(why="A directory below the homes that is not the user's home has no effect."),
    "notebook_dir": _kept(why="A directory below the homes that is not the user's home has no effect."),
    "default_url": _kept("singleuser.defaultUrl"),
    "disable_user_config": _kept(),
    "debug": _kept("debug.enabled"),
    "env_keep": _kept(),
    "environment": _kept("singleuser.extraEnv", why="It must not change the identity or give devices."),
    "lifecycle_hooks": _kept("singleuser.lifecycleHooks"),
    "ip": _kept(why="By default, notebooks listen at IPv6 addresses where the API server has one."),
    "port": _kept(),
    "extra_container_config": _kept(why="Only fields that this project lists as harmless are accepted."),
    # The other parts of the pod.
    "init_containers": _kept(
        "singleuser.initContainers",
        "singleuser.cloudMetadata.blockWithIptables",
        why="They run as the user and get no devices.",
    ),
    "extra_containers": _kept("singleuser.extraContainers", why="They run as the user and get no devices."),
    "extra_pod_config": _kept(
        "singleuser.extraPodConfig",
        why="Only fields that this project lists as harmless, or that are in pods.allow.fields, are accepted.",
    ),
    "extra_labels": _kept("singleuser.extraLabels", why="Labels of schedulers and of this project are refused."),
    "extra_annotations": _kept(
        "singleuser.extraAnnotations",
        why="Annotations of schedulers, container runtimes and of this project are refused.",
    ),
    "common_labels": _kept(),
    "component_label": _kept(),
    "pod_name_template": _kept("singleuser.podNameTemplate"),
    "slug_scheme": _kept(),
    "handle_legacy_names": _kept(),
    # Storage.
    "volumes": _kept(
        "singleuser.storage.extraVolumes",
        "singleuser.storage.type",
        "singleuser.extraFiles.",
        why="Homes and shared mounts are in storage in the settings. Other volumes must be harmless or in pods.allow.",
    ),
    "volume_mounts": _kept(
        "singleuser.storage.extraVolumeMounts",
        "singleuser.storage.homeMountPath",
        "singleuser.storage.static.subPath",
        "singleuser.extraFiles.",
        why="They must not hide the mounts of the settings.",
    ),
    "storage_pvc_ensure": _kept("singleuser.storage.type", why="Homes are in storage.homes in the settings."),
    "storage_access_modes": _kept("singleuser.storage.dynamic.storageAccessModes"),
    "storage_capacity": _kept("singleuser.storage.capacity"),
    "storage_class": _kept("singleuser.storage.dynamic.storageClass"),
    "storage_extra_annotations": _kept(),
    "storage_extra_labels": _kept("singleuser.storage.extraLabels"),
    "storage_selector": _kept(),
    "pvc_name_template": _kept("singleuser.storage.dynamic.pvcNameTemplate"),
    "remember_pvc_name": _kept(),
    "delete_pvc": _kept(),
    # Hooks.
    "auth_state_hook": _kept(),
    "pre_spawn_hook": _kept(why="It runs after the plan of the start is made."),
    "post_stop_hook": _kept(),
    "modify_pod_hook": _kept(why="It runs before the pod is completed and checked."),
    "after_pod_created_hook": _kept(),
    "progress_ready_hook": _kept(),
    # The hub, its tokens and its connection to the notebook.
    "server_token_scopes": _kept(why="`configure` adds the scope of the batch service."),
    "oauth_client_allowed_scopes": _kept(),
    "oauth_roles": _kept(),
    "hub_connect_ip": _kept(),
    "hub_connect_port": _kept(),
    "hub_connect_url": _kept(),
    "get_pod_url": _kept(),
    "pod_connect_ip": _kept(),
    "services_enabled": _kept(),
    "dns_name_template": _kept(),
    "secret_mount_path": _decided(_TLS),
    "secret_name_template": _decided(_TLS),
    "ssl_alt_names": _decided(_TLS),
    "ssl_alt_names_include_local": _decided(_TLS),
    "events_enabled": _kept("singleuser.events"),
    "slow_spawn_message": _kept(why="Users see the reason why a server waits instead."),
    "slow_spawn_message_frequency": _kept(),
    "slow_spawn_message_threshold": _kept(),
    "k8s_api_host": _kept(),
    "k8s_api_request_retry_timeout": _kept(),
    "k8s_api_request_timeout": _kept(why="`configure` raises it to 10 seconds."),
    "k8s_api_ssl_ca_cert": _kept(),
    "k8s_api_threadpool_workers": _kept(),
    "k8s_api_verify_ssl": _kept(),
}


def chart_key(trait: str) -> str:
    """Return the keys in z2jh's values that set this trait, such as `singleuser.uid`; "" if no key sets it."""
    return " or ".join(key.rstrip(".") for key in TRAITS[trait].chart) if trait in TRAITS else ""
