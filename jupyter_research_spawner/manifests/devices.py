"""Devices by dynamic resource allocation.  Contract: resource.k8s.io/v1 (Kubernetes 1.34 and later)."""

from __future__ import annotations

from ..resources import DRA_API, DraGpu
from ..shape import Json
from ..site import Site
from .release import Release, metadata


def objects(site: Site, release: Release) -> list[Json]:
    """A ResourceClaimTemplate for each sort of claim; profiles that ask for the same share one."""
    gpus = {gpu.template: gpu for profile in site.profiles.values() if isinstance(gpu := profile.gpu, DraGpu)}
    return [
        {
            "apiVersion": DRA_API,
            "kind": "ResourceClaimTemplate",
            "metadata": metadata(name, "devices", site.namespaces.name),
            "spec": {"spec": gpu.claim_spec()},
        }
        for name, gpu in sorted(gpus.items())
    ]
