"""Create the network policies of notebooks, jobs and the batch service, in addition to those of the chart.

API version: networking.k8s.io/v1.
"""

from __future__ import annotations

import ipaddress

from ..pod.overlay import KIND
from ..shape import NOTEBOOK_KIND, Json
from ..site import Site
from .release import BATCH, BATCH_PORT, CHART_COMPONENT, Release, labels, metadata

NAMESPACE = "kubernetes.io/metadata.name"
# RFC 1918, and RFC 6598, which managed clusters use for pods.
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
# In this range are cloud metadata servers, which return the node's credentials, and node-local DNS caches.
LINK_LOCAL = "169.254.0.0/16"


def objects(site: Site, release: Release) -> list[Json]:
    """Return the network policies of the batch service, of notebooks and of jobs."""
    pods, hub_namespace = site.namespaces.name, release.namespace_of(site)
    notebooks = {"matchLabels": {KIND: NOTEBOOK_KIND}}
    service = {"matchLabels": _service_labels()}
    port: Json = {"ports": [{"port": BATCH_PORT, "protocol": "TCP"}]}
    doors = [
        {"podSelector": {"matchLabels": {CHART_COMPONENT: component}}} for component in ("hub", "proxy", "autohttps")
    ]
    return [
        # This policy has no egress rules, because no selector matches the API server and the directory services, which
        # the batch service must reach.
        _policy(BATCH, hub_namespace, service, ingress=[{"from": [_in(pods, notebooks), *doors], **port}]),
        # The chart's policy for notebooks denies private addresses, and so the address of the batch service.
        _policy("research-notebooks", pods, notebooks, egress=[{"to": [_in(hub_namespace, service)], **port}]),
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
    names += [{"ipBlock": {"cidr": cidr}} for cidr in (*PRIVATE, LINK_LOCAL)]
    rules: list[Json] = [
        {"to": names, "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [*PRIVATE, LINK_LOCAL]}}]},
    ]
    if release.job_networks:
        rules.append({"to": [{"ipBlock": {"cidr": _cidr(network)}} for network in release.job_networks]})
    return rules


def _cidr(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
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
