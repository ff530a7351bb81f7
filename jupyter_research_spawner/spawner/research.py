"""ResearchSpawner, a KubeSpawner whose notebooks run with the user's POSIX identity.

Written for JupyterHub 5.3 to 6.1 and kubespawner 7.1. Notes for administrators who know KubeSpawner:

* The settings of the site replace `profile_list`, `apply_user_options`, `start_timeout`, `uid`, `gid`, `fs_gid`,
  `supplemental_gids`, `cpu_*`, `mem_*` and `scheduler_name`. `configure` reports each of these traits that is set to
  another value.
* traitlets does not merge a dict in `c.ResearchSpawner` with the same dict in `c.KubeSpawner`, it replaces it. Set only
  the traits of this class on `c.ResearchSpawner`.
* KubeSpawner expands `{username}` and other fields in its settings. Texts with other braces, such as JSON, keep them
  (`templates`). Values from the Site are never expanded.
* `modify_pod_hook` and `pre_spawn_hook` run before the pod is composed and checked. If a hook changes the identity or
  the scheduling of the pod, the start fails, and the error names the changed field.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import datetime
from typing import Any, TypeGuard
from urllib.parse import quote as quote_url

import aiohttp
from kubernetes_asyncio.client import ApiException, V1Pod

from ..jobs import notebook
from ..metrics import ADOPTIONS
from ..plan import Plan, Verdict, changes, granted_by
from ..pod import check, compose, replaced_fields, secret_prerequisites
from ..pod.overlay import granted_to
from ..refusal import Refusal
from ..schedulers import Place
from ..shape import Json
from ..watch.phase import why_not_gone
from ..watch.pod_end import runs_again
from ..wording import quote
from .background import first_result, run_in_background
from .deadline_writer import DeadlineWriter
from .hub_errors import HubRefusal, came_from
from .pending_page import PendingPage, pending_page
from .planned import PlannedSpawner
from .pod_changes import subscribe_to_related
from .pod_creation import api_token_of, create_pod, read_pod, refusal_of, why_not_adopted, why_taken
from .pod_wait import PodWait, is_pod_ready
from .progress import announce_stop, stream_progress
from .reflectors import FIRST_LIST_SECONDS, watch_events, watch_pods
from .resume import (
    UNANSWERED,
    end_resume,
    end_wait_since_restart,
    resume_ends_with_cancellation,
    schedule_repetition,
    schedule_resume,
    waits_since_restart,
)
from .rights_check import check_while_running, count, renewed, withdrawn
from .saved_state import MAIN
from .start import Start
from .unclaimed_pods import delete_unclaimed_pods
from .wall_time import enforce_wall_time, grace_seconds
from .wall_time_extension import PAGE

# KubeSpawner's time limit is this much longer than ours, because only our error says why the start failed.
EXTRA_SECONDS = 60
# Exceptions of the API server and of the connection to it.
CLUSTER_ERRORS = (ApiException, aiohttp.ClientError, asyncio.TimeoutError)


class ResearchSpawner(PlannedSpawner):
    """Starts notebooks with the POSIX identity of their user, in the queue that the user selected."""

    _reaching: asyncio.Task[Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "users" in self.hub_settings and not self.shared.has_background_work:
            self.shared.has_background_work = True
            run_in_background(delete_unclaimed_pods(self, self.shared))

    # Start.

    def start(self) -> asyncio.Future[str]:
        # After this method returns, the hub reads start_timeout once and then saves the state.
        limits = self.shared.site.hub
        self._is_starting, self._was_interrupted, self._last_event = True, False, None
        self._may_have_pod = False
        self.start_timeout = int((limits.queue_limit + limits.boot_limit).total_seconds()) + EXTRA_SECONDS
        self.orm_spawner.state = self.get_state()
        future: asyncio.Future[str] = super().start()
        self.shared.starts.record_when_done(self, future)
        return future

    async def _start(self) -> str:
        if self.current_start is None:
            raise HubRefusal(_undecided())
        try:
            while True:
                start = self.current_start
                unsubscribe = subscribe_to_related(self.namespace, self.pod_name, start.changes.notify)
                try:
                    with resume_ends_with_cancellation(self, self.shared):
                        outcome = await first_result(self._reach(start), self._withdrawn(start))
                finally:
                    unsubscribe()
                    start.slot.release()
                if isinstance(outcome, str):
                    break
                await self._start_anew(start, outcome)
        except Refusal as refusal:
            self._keep_place(start, refusal)
            if start.wait.has_begun:
                self.end_recorder.record_failed_start(refusal)
            await self._delete_failed_pod(start.wait)
            raise HubRefusal(refusal) from None
        except Exception as error:  # also those of KubeSpawner and of administrators' hooks
            if isinstance(error, CLUSTER_ERRORS) and not came_from(error, self._hooks_of_start()):
                self.log.error("The start of %s failed: %r", self._log_name, error)
                unanswered = refusal_of(error)
                self._keep_place(start, unanswered)
                raise HubRefusal(unanswered) from None
            await self._delete_failed_pod(start.wait)
            with self.explained_errors(f"The start of {self._log_name}"):
                raise
        finally:
            self.current_start.end()
        end_resume(self, self.shared)
        self._is_starting, self._pod_uid = False, str(getattr(self, "pod_id", ""))
        self.end_recorder.record_start(self._reflected_pod())
        self._check_while_running()
        return outcome

    def _keep_place(self, start: Start, refusal: Refusal) -> None:
        """Keep the pod that waits since a restart of the hub if the cluster did not answer, and start again later."""
        if waits_since_restart(self, self.shared) and not start.wait.has_begun and refusal.code in UNANSWERED:
            self._leaves_pod_alone = self._may_have_pod = True
            schedule_repetition(self, self.shared)

    def _hooks_of_start(self) -> list[Any]:
        """Return the administrators' functions that run in a start.  They can ask other services than the cluster."""
        hooks = [self.modify_pod_hook, self.after_pod_created_hook, self.get_pod_url, *self.environment.values()]
        return [hook for hook in hooks if callable(hook)]

    async def _reach(self, start: Start) -> str | Verdict:
        """Create the pod and return the notebook's URL when the notebook answers."""
        self._reaching = asyncio.current_task()
        self.end_recorder.follow_pod()
        await start.slot.acquire()
        url: str = await super()._start()
        await start.wait_for_connection(url, self._reflected_pod)
        return url

    async def _withdrawn(self, start: Start) -> str | Verdict:
        return await withdrawn(start, self._reflected_pod, self.decide_as_accepted, MAIN)

    async def _start_anew(self, start: Start, verdict: Verdict) -> None:
        """Replace the pod of a waiting notebook by one with the user's rights of now. Raises Refusal if refused."""
        if verdict.refusal is not None or verdict.plan is None:
            count("waiting-refused")
            raise verdict.refusal or _undecided()
        if start.wait.has_begun:
            await self.stop(now=True)
        self.shared.starts.record_replaced(self)
        self.apply_plan(verdict.plan)
        self.prepare_start(verdict.plan)
        assert self.current_start is not None
        self.current_start.wait.continue_after(start.wait)
        self.current_start.notes = start.notes
        self._tell_of_new_pod(self.current_start, verdict.changes)
        start.progress.notify()

    def _tell_of_new_pod(self, start: Start, changed: tuple[str, ...]) -> None:
        """Tell the user on the page of the start and on the hub's home page that the waiting pod was recreated."""
        count("waiting-renewed")
        start.notes.append(renewed(changed))
        start.progress.notify()
        self.tell(start.notes[-1])

    async def _make_create_pod_request(self, pod: V1Pod | None, request_timeout: float) -> bool:
        """Send one create request. KubeSpawner calls this again until it returns True.

        All hooks have run before this call, so nothing changes the pod after it is checked.
        """
        start = self.current_start
        if start is None:
            raise _undecided()
        if start.manifest is None:
            start.manifest = self.finished_manifest(start.plan, pod)
        secrets = secret_prerequisites(start.manifest, start.plan.namespace)
        await self.shared.prerequisites(self.api.api_client).require((*start.plan.prerequisites, *secrets))
        outcome = await create_pod(
            self.api,
            start.plan.namespace,
            start.manifest,
            request_seconds=request_timeout,
            cleanup_seconds=self.k8s_api_request_retry_timeout,
        )
        if outcome == "name taken":
            return await self._adopt_or_delete(start)
        return outcome == "created"

    def finished_manifest(self, decided: Plan, pod: V1Pod | None) -> Json:
        """Compose the manifest from the plan and KubeSpawner's pod, check it, and return it. Raises Refusal."""
        self._check_place(decided)
        if pod is None:
            raise Refusal(
                "manifest",
                "Nothing was started: modify_pod_hook returned nothing instead of the pod.",
                field="c.KubeSpawner.modify_pod_hook",
                hint="Ask your administrators to let the hook return the pod.",
                status=503,
            )
        base = self.api.api_client.sanitize_for_serialization(pod)
        manifest = compose(decided, base, notebook.SLOTS)
        check(decided, manifest, notebook.SLOTS)
        for path, value, new in replaced_fields(base, manifest, MAIN):
            self.log.info(
                "%s of the pod %s is %r in KubeSpawner's settings or hooks; the site's settings make it %r",
                *(path, self.pod_name, value, new),
            )
        return manifest

    def _check_place(self, decided: Plan) -> None:
        """Raise Refusal if a hook has moved the server: it would be watched and deleted where its pod is not."""
        for trait, value, planned in (
            ("namespace", self.namespace, decided.namespace),
            ("pod_name", self.pod_name, decided.shape.name),
        ):
            if value != planned:
                raise Refusal(
                    "manifest",
                    f"Nothing was started: a hook has set spawner.{trait} to {quote(value)}, not {planned!r}.",
                    field=f"spawner.{trait}",
                    hint="Ask your administrators to remove this from the hook. namespaces.name sets the namespace.",
                    status=503,
                )

    async def _adopt_or_delete(self, start: Start) -> bool:
        """Adopt the existing pod with this server's pod name, which keeps its place in the queue, or delete the pod.

        Returns whether the pod was adopted. Raises Refusal if another user or another hub owns the pod.
        """
        namespace = start.plan.namespace
        pod = await read_pod(self.api, namespace, self.pod_name, request_seconds=self.k8s_api_request_timeout)
        if pod is None:
            return False
        assert start.manifest is not None
        if not (why_not := why_not_adopted(start.plan, start.manifest, pod)):
            self.log.info("Adopting pod %s/%s of %s", namespace, self.pod_name, self.user.name)
            # The hub finds this token in its database and accepts it again (User.spawn: "re-used an API token").
            self.api_token = api_token_of(pod, MAIN)
            start.wait.continue_with(pod, await self.deadlines.now())
            ADOPTIONS.labels("adopted").inc()
            return True
        if (taken := why_taken(start.plan, self.hub_secret, pod)) is not None:
            self.log.error("%s of %s: %s", self._log_name, namespace, taken)
            self._leaves_pod_alone = True
            ADOPTIONS.labels("other-user").inc()
            raise taken
        ADOPTIONS.labels("deleted").inc()
        self.log.warning("Deleting pod %s/%s, which cannot be adopted: %s", namespace, self.pod_name, why_not)
        if _is_alive(pod):
            self._tell_of_new_pod(start, changes(granted_to(pod), granted_by(start.plan)))
        await self.stop(now=True)
        return False

    def is_pod_running(self, pod: Json | None) -> bool | Awaitable[bool]:
        """Return whether the pod is ready. In a start, return an awaitable that ends when the pod is ready.

        KubeSpawner awaits it in its wait for the pod, which would otherwise look at the pod at growing intervals.
        """
        start = self.current_start
        if start is None or asyncio.current_task() is not self._reaching:
            return is_pod_ready(pod, MAIN)
        return start.wait_until_ready(self._reflected_pod)

    async def _delete_failed_pod(self, wait: PodWait) -> None:
        """Delete the pod of a failed start.

        The hub does not delete it, because KubeSpawner's poll reports the server as stopped.
        An error of the deletion is only logged, because the user must see why the start failed.
        """
        if not wait.has_begun:
            return
        try:
            if not wait.has_seen_pod:
                await self._start_watching_pods(replace=True)
            await self.stop(now=True)
        except (*CLUSTER_ERRORS, HubRefusal) as error:
            self.log.error("The pod of %s could not be deleted: %r", self._log_name, error)

    # Rights and wall time of a running notebook.

    def _check_while_running(self) -> None:
        self.end_watch.begin()
        if self._rights_check is None or self._rights_check.done():
            stops = self.shared.site.on_lost_right == "stop"
            self._rights_check = run_in_background(check_while_running(self, stops=stops))
        if self._wall_time_watch is None or self._wall_time_watch.done():
            self._wall_time_watch = run_in_background(enforce_wall_time(self, self.deadlines))

    def find_running_pod(self) -> Json | None:
        """Return this server's pod while it runs; None if the calling task must end."""
        is_current = asyncio.current_task() in (self._rights_check, self._wall_time_watch)
        return self.find_own_pod() if is_current else None

    def find_own_pod(self) -> Json | None:
        """Return the pod of this server's last start while it has not ended and is not being deleted."""
        pod = self._reflected_pod()
        return pod if _is_alive(pod) and self._is_own(pod) else None

    @property
    def extend_path(self) -> str:
        """Return the path of the page that extends this server."""
        return f"{self.hub.base_url}{PAGE}?server={quote_url(self.name)}"

    @property
    def deadlines(self) -> DeadlineWriter:
        return self.shared.deadlines(self.api.api_client)

    # Stop.

    @property
    def ready(self) -> bool:
        """Return whether users can use the server.

        JupyterHub calls a server ready whose start was cancelled, until it stops the server: it would send users there.
        """
        return not (self.is_cancelled or self._start_pending) and bool(super().ready)

    async def stop(self, now: bool = False) -> None:
        """Delete the pod and wait until it is gone, at most `hub.stop_limit` (KubeSpawner waits start_timeout)."""
        self.end_recorder.record_stop()
        start_timeout = self.start_timeout
        self.start_timeout = int(self.shared.site.hub.stop_limit.total_seconds())
        if not self._has_grace_period:
            self.delete_grace_period = grace_seconds(self._reflected_pod())
        announcing = asyncio.ensure_future(announce_stop(self._reflected_pod, self._report_stop))
        try:
            await super().stop(now)
            self._may_have_pod = False
            end_wait_since_restart(self, self.shared)
        finally:
            announcing.cancel()
            self.stop_waits_for = ""
            self.start_timeout = start_timeout

    def _report_stop(self, why: str) -> None:
        """Put the reason why a stop takes long into the log and into the server's state in the hub's REST API."""
        if why and why != self.stop_waits_for:
            self.log.warning("Stopping %s: %s", self._log_name, why)
        self.stop_waits_for = why

    # Restart of the hub.

    async def poll(self) -> int | None:
        """Return the exit status of the server, None while it runs.

        A server that was starting when the hub went down counts as stopped. It is started again and adopts its pod.
        Until the hub's first list of pods it is not known whether a server from before the restart runs, so this waits
        for the list. A server that was not started is stopped, also while the API server does not answer.
        """
        if self._leaves_pod_alone or (self._start_future is None and not self._may_run_since_restart):
            self._was_interrupted = False
            return 0
        try:
            await watch_pods(self, limit_seconds=None if self._start_future is None else FIRST_LIST_SECONDS)
        except HubRefusal:
            return None
        pod = self._reflected_pod()
        if self._was_interrupted and self._start_future is None and _is_alive(pod) and not self._is_blocked:
            schedule_resume(self, self.shared)
            self._was_interrupted = False
            self._leaves_pod_alone = True
            return 0
        self.end_recorder.look_at(pod)
        if pod is not None and why_not_gone(pod):
            # The pod's containers have ended and only a finalizer keeps the pod. KubeSpawner would delete the pod again
            # and wait, and a new start would fail with HTTP 500.
            return 0
        if pod is not None and not self._is_own(pod):
            await self._leave_replaced_pod(pod)
            return 1
        if pod is not None and runs_again(pod, MAIN):
            # KubeSpawner would delete the pod, which keeps its place while the kubelet restarts the container.
            return None
        status: int | None = await super().poll()
        if status is None and not self._is_starting:
            self.end_recorder.follow_pod()
            self._check_while_running()
        return status

    @property
    def _is_blocked(self) -> bool:
        """Return whether the user is blocked.

        When the hub starts, it stops those servers of blocked users that poll reports as running.
        """
        return self.user.name in (getattr(self.authenticator, "blocked_users", None) or ())

    # Progress.

    async def progress(self) -> AsyncIterator[Json]:
        if self.events_enabled:
            await self._start_watching_events()
        async for message in stream_progress(self):
            yield message

    async def pending_page(self) -> PendingPage:
        """Return what the page of this server shows while it starts."""
        return await pending_page(self, self.shared.site)

    @property
    def lost_since(self) -> datetime | None:
        """Return since when the hub's list of pods can be old; None if it is up to date."""
        return getattr(self.pod_reflector, "lost_since", None)

    async def find_place(self) -> Place | None:
        """Return the place of this server's pod in its queue; None if it is unknown.

        For the first reader of a page, this waits for the list of nodes, so that the page shows at once if none is
        large enough.
        """
        pod = self._reflected_pod()
        await self.shared.nodes(self.api.api_client).has_been_listed()
        return await self.shared.place_of(self.api.api_client, pod) if pod else None

    @property
    def events(self) -> list[Json]:
        """Return this pod's events since the start began, oldest first."""
        found: list[Json] = self.event_reflector.of(self.pod_name) if self.event_reflector else []
        for index, event in enumerate(found):
            if self._last_event and event["metadata"]["uid"] == self._last_event:
                return found[index + 1 :]
        return found

    # KubeSpawner calls these before each start, stop and poll.

    async def _start_watching_events(self, replace: bool = False) -> Any:
        return await watch_events(self)

    async def _start_watching_pods(self, replace: bool = False) -> Any:
        return await watch_pods(self, restart=replace)

    def _reflected_pod(self) -> Json | None:
        """Return the pod from the memory of KubeSpawner's reflector; None if it is not there."""
        reflector = self.pod_reflector
        return reflector.pods.get(f"{self.namespace}/{self.pod_name}") if reflector else None


def _undecided() -> Refusal:
    return Refusal("not-decided", "This start has no plan: the hub did not apply any options.", status=503)


def _is_alive(pod: Json | None) -> TypeGuard[Json]:
    if pod is None or "deletionTimestamp" in pod["metadata"]:
        return False
    return (pod.get("status") or {}).get("phase") in ("Pending", "Running")
