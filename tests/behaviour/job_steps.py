"""Steps of tests about Jobs: submit one, act as the node of its pods, read its status."""

from __future__ import annotations

from typing import Any

from kube import MERGE, Json, Kube, eventually, job

MANAGED = "batch.kubernetes.io/"
DISRUPTED: Json = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "m"}
COMES_BACK = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}


async def submitted(kube: Kube, **spec: Any) -> Json:
    answer = await kube.call("POST", kube.jobs, job("j", **spec))
    assert answer.status == 201, answer.body
    return answer.body


async def job_now(kube: Kube) -> Json:
    return (await kube.call("GET", f"{kube.jobs}/j")).body


async def pods_of_job(kube: Kube) -> list[Json]:
    """Return the pods of the Job that are not being deleted, oldest first."""
    found = (await kube.get("pods", labelSelector=f"{MANAGED}job-name=j")).body["items"]
    staying = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
    return sorted(staying, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["resourceVersion"]))


async def running_pod(kube: Kube) -> str:
    """Bind the Job's pending pod to a node, report it as running, and return its name."""

    async def waiting() -> list[str]:
        found = [pod for pod in await pods_of_job(kube) if pod["status"]["phase"] == "Pending"]
        return [pod["metadata"]["name"] for pod in found if not pod["spec"].get("nodeName")][:1]

    await eventually(lambda: _is_some(waiting), True)
    [name] = await waiting()
    target = {"apiVersion": "v1", "kind": "Node", "name": kube.nowhere}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    assert (await kube.call("POST", f"{kube.here}/pods/{name}/binding", binding)).status == 201
    await report(kube, name, phase="Running", podIP="10.0.0.1")
    return name


async def _is_some(look: Any) -> bool:
    return bool(await look())


async def report(kube: Kube, name: str, **status: Any) -> None:
    """Write the status of a pod as a kubelet does."""
    answer = await kube.patch(f"pods/{name}/status", {"status": status}, MERGE)
    assert answer.status == 200, answer.body


async def ended(kube: Kube, name: str, exit_code: int, *conditions: Json) -> None:
    times = {"startedAt": "2026-11-23T12:00:00Z", "finishedAt": "2026-11-23T12:01:00Z"}
    state = {"terminated": {"exitCode": exit_code, "reason": "Error" if exit_code else "Completed", **times}}
    container = {"name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    more = {"conditions": list(conditions)} if conditions else {}
    phase = "Failed" if exit_code else "Succeeded"
    await report(kube, name, phase=phase, containerStatuses=[container], **more)


async def conditions(kube: Kube) -> list[tuple[str, str, str]]:
    found = (await job_now(kube)).get("status", {}).get("conditions", [])
    return [(one["type"], one["status"], one.get("reason", "")) for one in found]


async def counts(kube: Kube, *names: str) -> list[int]:
    status = (await job_now(kube))["status"]
    return [status.get(name, 0) for name in names]
