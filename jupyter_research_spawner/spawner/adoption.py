"""Whether a pod that is there already is this server's own: after a hub restart, or after a create that timed out.

The key on the pod is an HMAC with a hub secret (plan.adoption_key): a person who may create pods cannot make one.
"""

from __future__ import annotations

import hmac

from ..plan import Plan
from ..pod.ours import REQUEST, USER_NAME
from ..shape import Json


def is_own(plan: Plan, pod: Json) -> bool:
    """Whether `pod` was made for the same person, server and wishes, and can still become the notebook."""
    metadata = pod.get("metadata") or {}
    key = (metadata.get("annotations") or {}).get(REQUEST, "")
    if not plan.adoption_key or not hmac.compare_digest(plan.adoption_key.encode(), str(key).encode()):
        return False
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return not ended and not metadata.get("deletionTimestamp")


def other_holder(plan: Plan, pod: Json) -> str | None:
    """The hub's name of somebody else whose pod this is, None if it is this person's or nobody's of ours."""
    holder = (pod["metadata"].get("annotations") or {}).get(USER_NAME)
    return holder if holder not in (None, plan.request.hub_user) else None


def api_token(pod: Json, main: str) -> str | None:
    """The hub's token that the pod's main container was given."""
    for container in pod["spec"].get("containers") or []:
        if container.get("name") == main:
            for entry in container.get("env") or []:
                if entry.get("name") == "JUPYTERHUB_API_TOKEN":
                    return entry.get("value") or None
    return None
