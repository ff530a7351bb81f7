"""Creates a notebook's pod, or decides whether an existing pod of the same name can be adopted.

An existing pod was created before the hub restarted, or by a create request whose response was lost. The adoption key
in its annotations is an HMAC with a secret of the hub (Plan.adoption_key), so a user who can create pods cannot forge
the key. The pod must also be what this start would create, because the settings and the user's rights may have changed.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from typing import Literal

import aiohttp
from kubernetes_asyncio.client import ApiException, CoreV1Api, V1DeleteOptions, V1Preconditions
from kubernetes_asyncio.client.rest import RESTResponse

from ..api_object import annotations_of
from ..jobs.notebook import SLOTS
from ..plan import Plan
from ..pod import differences
from ..pod.overlay import REQUEST, USER_NAME
from ..refusal import Refusal
from ..schedulers import SCHEDULERS
from ..shape import Json
from ..watch.api_server import cluster_down, webhook_down
from ..watch.phase import is_over
from ..wording import format_list
from .background import run_in_background
from .pod_owner import is_of_this_hub

log = logging.getLogger(__name__)

# The log names at most this many of the differences between a pod and the manifest of a start.
MAX_DIFFERENCES = 12


async def create_pod(
    api: CoreV1Api, namespace: str, manifest: Json, *, request_seconds: float, cleanup_seconds: float
) -> Literal["created", "no answer", "name taken"]:
    """Send one create request. Raises ApiException if the API server refuses the pod.

    If the caller is cancelled while the API server creates the pod, the pod is deleted in the background.
    """
    create = asyncio.ensure_future(_post_pod(api, namespace, manifest))
    try:
        await asyncio.wait_for(asyncio.shield(create), request_seconds)
    except (asyncio.TimeoutError, aiohttp.ClientError) as error:
        create.cancel()
        log.warning("The API server did not answer a create request (%r). The hub sends it again", error)
        return "no answer"
    except asyncio.CancelledError:
        run_in_background(_delete_created(api, create, cleanup_seconds))
        raise
    except ApiException as error:
        if error.status != 409:
            raise
        return "name taken"
    return "created"


async def _post_pod(api: CoreV1Api, namespace: str, manifest: Json) -> bytes:
    """Create the pod and return it as JSON text. Raises ApiException.

    Nearly every caller only waits for the answer, and to make a V1Pod of it takes longer than to send the request.
    """
    # With "Strict", the API server refuses unknown fields instead of dropping them. API servers before Kubernetes 1.31
    # do not know supplementalGroupsPolicy.
    response = await api.create_namespaced_pod(namespace, manifest, field_validation="Strict", _preload_content=False)
    async with response:
        body: bytes = await response.read()
    if response.status >= 300:
        error = ApiException(http_resp=RESTResponse(response, body))
        error.body = body.decode(errors="replace")
        raise error
    return body


async def _delete_created(api: CoreV1Api, create: asyncio.Future[bytes], cleanup_seconds: float) -> None:
    try:
        metadata = json.loads(await asyncio.wait_for(create, cleanup_seconds))["metadata"]
        body = V1DeleteOptions(preconditions=V1Preconditions(uid=metadata["uid"]))
        await api.delete_namespaced_pod(metadata["name"], metadata["namespace"], body=body)
    except (ApiException, aiohttp.ClientError, asyncio.TimeoutError):
        return


async def read_pod(api: CoreV1Api, namespace: str, name: str, *, request_seconds: float) -> Json | None:
    """Return the pod from the API server; None if it does not exist or the server does not answer."""
    try:
        response = await api.read_namespaced_pod(
            name, namespace, _preload_content=False, _request_timeout=request_seconds
        )
        async with response:
            return dict(await response.json()) if response.status == 200 else None
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        log.warning("The API server did not answer a request for pod %s/%s (%r)", namespace, name, error)
        return None


def why_not_adopted(plan: Plan, manifest: Json, pod: Json) -> str:
    """Return why a start with this plan and manifest does not adopt the existing pod; "" if it does."""
    if is_over(pod) or (pod.get("metadata") or {}).get("deletionTimestamp"):
        return "it has ended"
    if api_token_of(pod, SLOTS.main) is None:
        return "it has no API token"
    found = differences(manifest, pod, SCHEDULERS[plan.scheduler].adds(pod), plan.priority_value)
    reasons = [f"its {path} {difference}" for path, difference in found]
    if not _has_key_of(plan, pod):
        reasons.insert(0, "it was created for other options, another wall time or another identity")
    return format_list(reasons, limit=MAX_DIFFERENCES)


def _has_key_of(plan: Plan, pod: Json) -> bool:
    """Return whether this hub has created the pod for the same user, server and options."""
    key = str(annotations_of(pod).get(REQUEST, ""))
    return bool(plan.adoption_key) and hmac.compare_digest(plan.adoption_key.encode(), key.encode())


def why_taken(plan: Plan, secret: bytes, pod: Json) -> Refusal | None:
    """Return the refusal of a start whose pod name another user's pod has, or one that another hub has created."""
    user = annotations_of(pod).get(USER_NAME)
    if user not in (None, plan.request.hub_user):
        whose = "another user's server has that name"
        hint = "Ask your administrators to check that c.KubeSpawner.pod_name_template gives each server another name."
    elif not is_of_this_hub(secret, pod):
        whose = f"a pod in namespace {plan.namespace!r} has that name already, and this hub has not created it"
        hint = (
            "Ask your administrators: if another hub uses the namespace, one of the two needs another "
            "c.KubeSpawner.pod_name_template. If the hub has lost its cookie secret, they can delete the pod."
        )
    else:
        return None
    return Refusal(
        "pod-name-taken",
        f"Your server's pod would be called {plan.shape.name!r}, but {whose}.",
        hint=hint,
        status=503,
    )


def api_token_of(pod: Json, main: str) -> str | None:
    """Return JUPYTERHUB_API_TOKEN of the pod's main container; None if the container has none."""
    for container in pod["spec"].get("containers") or []:
        if container.get("name") == main:
            for entry in container.get("env") or []:
                if entry.get("name") == "JUPYTERHUB_API_TOKEN":
                    return entry.get("value") or None
    return None


def refusal_of(error: ApiException | aiohttp.ClientError | asyncio.TimeoutError) -> Refusal:
    """Return the refusal for an error of the API server, an admission webhook or the connection."""
    if isinstance(error, aiohttp.ClientError):
        return cluster_down()
    if isinstance(error, asyncio.TimeoutError):
        return Refusal("cluster-slow", f"The cluster is too slow: {error}", status=503, hint="Try again later.")
    message = _status_message(error)
    return webhook_down(message) or Refusal(
        "cluster-refused",
        f"The cluster did not accept the pod: {message}",
        status=503,
        hint="If you do not understand this message, show it to your administrators.",
    )


def _status_message(error: ApiException) -> str:
    """Return the message of the API server's Status object, at most 500 characters."""
    try:
        message = str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        message = f"HTTP {error.status} {error.reason}"
    return message if len(message) <= 500 else f"{message[:497]}..."
