"""The command `manifests`: print the objects that the cluster needs."""

from __future__ import annotations

import argparse
import asyncio
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from ..chart_values import complete, look_up, own_image, pull_secrets
from ..manifests import PARTS, HubVolume, Release, difference, everything, place_of, queue_comments
from ..pod.yaml_text import as_text
from ..refusal import Refusal
from ..shape import Json
from ..site import Site
from ..watch.api_server import ApiError, ApiServer
from .cluster_connection import api_server
from .files import read_files
from .output import Differs

SERVICE, QUEUES = "batch", "queues"
# The batch service mounts the volumes of the hub whose names begin with this.
SHARED_VOLUMES = "research-"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `manifests`, except those that name the settings."""
    parser.add_argument(
        "--only",
        type=_parts,
        metavar="PART,...",
        help=f"only some of {', '.join(PARTS)}. Default: all, without {SERVICE} if settings have no batch.url and no "
        "image of the batch service is known",
    )
    parser.add_argument(
        "--diff",
        action="store_true",
        help="compare the objects with those of the cluster instead, and exit with 1 if they differ. KUBECONFIG says "
        "where the cluster is. Fields that the manifests do not set do not count",
    )
    parser.add_argument(
        "--batch-image",
        metavar="IMAGE",
        help="image of the batch service, which contains this package. Default: hub.image of the helm values, if it "
        "is not the chart's own",
    )
    parser.add_argument(
        "--batch-config-map",
        action="append",
        type=_mount,
        default=[],
        metavar="NAME=PATH",
        help="mount ConfigMap NAME at PATH in the batch service, for example with passwd and group files. The volumes "
        f"in hub.extraVolumes of the helm values whose names begin with {SHARED_VOLUMES} are mounted in any case",
    )
    parser.add_argument(
        "--job-network", action="append", default=[], metavar="CIDR", help="a private network that jobs may reach"
    )
    parser.add_argument(
        "--storage-network",
        action="append",
        default=[],
        metavar="CIDR",
        help="a network of file servers, which jobs and notebooks may not reach, because any program could be an NFS "
        "client and claim any uid. Also switch off the chart's egress rules for notebooks (see storage/nfs.yaml)",
    )
    release = Release()
    parser.add_argument(
        "--release-namespace", metavar="NAME", help="the hub's namespace (default: the namespace of the pods)"
    )
    parser.add_argument(
        "--base-url",
        metavar="PATH",
        help=f"the hub's base_url. Default: hub.baseUrl of the helm values, or {release.base_url}",
    )
    for name, default, what in (
        ("hub-service-account", release.hub_service_account, "the hub's ServiceAccount"),
        ("hub-url", release.hub_url, "the hub's address in the cluster"),
        ("token-secret", release.token_secret, "Secret with the key hub.services.batch.apiToken"),
    ):
        parser.add_argument(f"--{name}", default=default, metavar="NAME", help=f"{what} (default: %(default)s)")


def printed(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """Return the objects as YAML or JSON.  Exits with an error of usage if an option or a value is missing."""
    files = read_files(options.files)
    release = _release(options, files.values)
    parts = options.only or _default_parts(files.site, release)
    if release.batch_image is None and SERVICE in parts:
        parser.error(
            "the batch service needs --batch-image, an image that contains this package, or hub.image.name and "
            "hub.image.tag in the helm values. The chart's own image of the hub does not contain it. Without the "
            f"service: --only {','.join(p for p in PARTS if p != SERVICE)}"
        )
    try:
        objects = everything(files.site, release, parts)
    except ValueError as error:
        parser.error(str(error))
    if options.diff:
        if options.output != "yaml":
            parser.error("--diff prints text, so it cannot be combined with --output")
        return asyncio.run(_compared(objects))
    if options.output == "json":
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2)
    comments = queue_comments(files.site) if QUEUES in parts else []
    lines = [line for one in comments for line in textwrap.wrap(one, initial_indent="# ", subsequent_indent="#   ")]
    return "\n".join([*lines, *(f"---\n{as_text(found)}" for found in objects)])


async def _compared(objects: list[Json]) -> str:
    """Return a sentence if the cluster has these objects.  Raises Differs, and Refusal without an answer."""
    async with api_server() as server:
        differing = [text for one in objects if (text := difference(one, await _find(server, one)))]
    if differing:
        raise Differs("\n".join(differing))
    return f"No differences in {len(objects)} objects."


async def _find(server: ApiServer, manifest: Json) -> Json | None:
    """Return the object of the cluster, or None if it or its kind does not exist.  Raises Refusal."""
    place = place_of(manifest)
    try:
        return await server.ask("GET", place.path)
    except ApiError as error:
        if error.status == 404:
            return None
        raise Refusal(
            "not-allowed",
            f"The cluster does not show {place}: {error.message}",
            hint="You need the right to get the objects that this command prints.",
            status=403,
        ) from None


def _default_parts(site: Site, release: Release) -> tuple[str, ...]:
    has_service = site.batch.url is not None or release.batch_image is not None
    return tuple(part for part in PARTS if part != SERVICE or has_service)


def _release(options: argparse.Namespace, values: Mapping[str, Any]) -> Release:
    """Return what the options say, and what the helm values say about the hub where an option is not given."""
    return Release(
        batch_image=options.batch_image or own_image(values),
        namespace=options.release_namespace,
        hub_service_account=options.hub_service_account,
        hub_url=options.hub_url,
        base_url=options.base_url or look_up(values, "hub.baseUrl") or Release().base_url,
        token_secret=options.token_secret,
        config_maps=dict(options.batch_config_map),
        hub_volumes=tuple(_shared_volumes(values)),
        pull_secrets=tuple(_pull_secrets(values)),
        job_networks=tuple(options.job_network),
        storage_networks=tuple(options.storage_network),
    )


def _shared_volumes(values: Mapping[str, Any]) -> Iterator[HubVolume]:
    """Yield the volumes of the hub that the batch service mounts too, each once for each of its mounts."""
    volumes = {volume.get("name"): volume for volume in look_up(values, "hub.extraVolumes") or ()}
    for mount in look_up(values, "hub.extraVolumeMounts") or ():
        name = mount.get("name", "")
        if name.startswith(SHARED_VOLUMES) and name in volumes:
            yield HubVolume(volumes[name], {**mount, "readOnly": True})


def _pull_secrets(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the Secrets with which the hub's image is pulled."""
    for secret in (*pull_secrets(complete(values)), *(look_up(values, "hub.image.pullSecrets") or ())):
        yield secret["name"] if isinstance(secret, dict) else secret


def _parts(text: str) -> tuple[str, ...]:
    asked = tuple(text.split(","))
    unknown = [part for part in asked if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(PARTS)}")
    return asked


def _mount(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not name or not path.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=/PATH")
    return name, path
