"""Create the network policies of notebooks, jobs and the batch service, in addition to those of the chart.

API version: networking.k8s.io/v1.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TypeAlias

from ..pod.overlay import KIND
from ..shape import NOTEBOOK_KIND, Json
from ..site import Site
from .release import BATCH, BATCH_PORT, CHART_COMPONENT, Release, labels, metadata

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
NAMESPACE = "kubernetes.io/metadata.name"
# RFC 1918, and RFC 6598, which managed clusters use for pods.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
# RFC 4193 and RFC 4291: the private and the link-local addresses of IPv6.
PRIVATE_6 = ("fc00::/7", "fe80::/10")
# In this range are cloud metadata servers, which return the node's credentials, and node-local DNS caches.
LINK_LOCAL = "169.254.0.0/16"


def objects(site: Site, release: Release) -> list[Json]:
    """Return the network policies of the batch service, of notebooks and of jobs."""
    pods, hub_namespace = site.namespaces.name, release.namespace_of(site)
    notebooks = {"matchLabels": {KIND: NOTEBOOK_KIND}}
    service = {"matchLabels": _service_labels()}
    port: Json = {"ports": [{"port": BATCH_PORT, "protocol": "TCP"}]}
    # Rules only add up, so this one makes a difference where the chart's own rule for public addresses is switched off.
    public = _public_egress(release) if release.storage_networks else []
    doors = [
        {"podSelector": {"matchLabels": {CHART_COMPONENT: component}}} for component in ("hub", "proxy", "autohttps")
    ]
    return [
        # This policy has no egress rules, because no selector matches the API server and the directory services, which
        # the batch service must reach.
        _policy(BATCH, hub_namespace, service, ingress=[{"from": [_in(pods, notebooks), *doors], **port}]),
        # The chart's policy for notebooks denies private addresses, and so the address of the batch service.
        _policy("research-notebooks", pods, notebooks, egress=[{"to": [_in(hub_namespace, service)], **port}, *public]),
        _policy("research-jobs", pods, _JOBS, ingress=[], egress=_job_egress(release)),
    ]


# `NotIn` alone would also select pods without the label, for example the hub's.
_JOBS: Json = {
    "matchExpressions": [
        {"key": KIND, "operator": "Exists"},
        {"key": KIND, "operator": "NotIn", "values": [NOTEBOOK_KIND]},
    ]
}


def _job_egress(release: Release) -> list[Json]:
    """Return the egress rules of jobs.  Like the chart's rules for notebooks, they allow DNS and public addresses."""
    names: list[Json] = [{"namespaceSelector": {"matchLabels": {NAMESPACE: "kube-system"}}}]
    names += [{"ipBlock": {"cidr": cidr}} for cidr in (*PRIVATE, LINK_LOCAL, *PRIVATE_6)]
    rules: list[Json] = [
        {"to": names, "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        *_public_egress(release),
    ]
    if release.job_networks:
        rules.append({"to": [_block(network, release, ()) for network in release.job_networks]})
    return rules


def _public_egress(release: Release) -> list[Json]:
    """Return the rule that allows all addresses except private addresses and file servers."""
    everywhere = (("0.0.0.0/0", (*PRIVATE, LINK_LOCAL)), ("::/0", PRIVATE_6))
    return [{"to": [_block(network, release, private) for network, private in everywhere]}]


def _block(network: str, release: Release, without: Sequence[str]) -> Json:
    """Return the ipBlock of `network`, except the networks in `without` and the file servers."""
    whole = _network(network)
    excepted = [_network(cidr) for cidr in without]
    for storage in map(_network, release.storage_networks):
        if _is_within(storage, whole) and not any(_is_within(storage, other) for other in excepted):
            excepted.append(storage)
    block: Json = {"cidr": str(whole)}
    return {"ipBlock": {**block, "except": [str(found) for found in excepted]} if excepted else block}


def _is_within(inner: Network, outer: Network) -> bool:
    """Return whether `inner` is a part of `outer`.  An IPv4 network is never a part of an IPv6 network."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a valid network: {error}. Example: 10.20.0.0/16") from None


def _service_labels() -> dict[str, str]:
    found = labels("batch")
    return {key: found[key] for key in ("app.kubernetes.io/name", "app.kubernetes.io/component")}


def _in(namespace: str, selector: Json) -> Json:
    return {"namespaceSelector": {"matchLabels": {NAMESPACE: namespace}}, "podSelector": selector}


def _policy(name: str, namespace: str, selector: Json, **rules: list[Json]) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name, "network", namespace),
        "spec": {"podSelector": selector, "policyTypes": [rule.capitalize() for rule in rules], **rules},
    }
