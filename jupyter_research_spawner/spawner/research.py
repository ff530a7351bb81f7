"""KubeSpawner whose notebooks run as the person.  Traits and seams only: deciding, composing, checking are elsewhere.

Contract: jupyterhub 5.3 to 6.1 and kubespawner 7.1.  Notes for admins who come from KubeSpawner:

* `profile_list`, `apply_user_options`, `start_timeout`, `uid`, `gid`, `fs_gid`, `supplemental_gids`, `cpu_*`, `mem_*`
  and `scheduler_name` are decided by the Site; `configure` names those that say something else.
* Dicts in `c.ResearchSpawner` replace those in `c.KubeSpawner` (traitlets): write only this class's own traits there.
* KubeSpawner formats `{...}` in volumes, labels and annotations.  What the Site says is never formatted.
* `modify_pod_hook` and `pre_spawn_hook` run before the pod is composed and checked: what they change about who runs,
  or where, ends the start with a sentence that names the path.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiException, V1DeleteOptions, V1Pod, V1Preconditions
from kubespawner import KubeSpawner
from traitlets import Any as AnyTrait
from traitlets import Unicode

from ..form import chosen_by_form, chosen_by_link
from ..jobs import notebook
from ..plan import Plan, plan
from ..pod import check, compose
from ..refusal import Refusal
from ..shape import Json
from ..watch.phase import why_not_gone
from ..watch.prerequisites import cluster_down, webhook_down
from . import adoption, options, progress, resume, stopping
from .events import IndexedEvents
from .installation import Installation, adoption_secret, registered
from .offering import Shown, options_page
from .refused import HubRefusal, Preselected, without_traces
from .waiting import Wait, is_ready, listens

MAIN = notebook.SLOTS.templates[0].main
# So that our own clocks, which can say why, are the first to end a wait.
SLACK_SECONDS = 60
SECONDS_BETWEEN_KNOCKS = 0.25
STATE = "research_spawner"


class ResearchSpawner(KubeSpawner):  # type: ignore[misc]
    """Notebooks that run as the person who started them, on the queue they chose."""

    installation = Unicode(help="Which Site: the key that `jupyter_research_spawner.configure` sets.").tag(config=True)

    # KubeSpawner's is a Dict: a list that was posted would end JupyterHub 5's request with a 500 before any seam.
    user_options = AnyTrait()

    _plan: Plan | None = None
    _manifest: Json | None = None
    _wait: Wait | None = None
    _accepted_options: Any = None
    _starting = False
    _was_starting = False
    _kept = False
    _stop_waits_for = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn = self.research.pacing.turn()
        self._own_image: str = self.image
        self._warn_of_the_hubs_limit()
        without_traces(self.log)

    @property
    def research(self) -> Installation:
        return registered(self.installation)

    def _warn_of_the_hubs_limit(self) -> None:
        """It was set after `configure`.  Each server that waits in a queue would take a place of it, for hours."""
        limit = (getattr(self.user, "settings", None) or {}).get("concurrent_spawn_limit")
        if limit and not self.research.has_warned:
            self.research.has_warned = True
            self.log.warning(
                "c.JupyterHub.concurrent_spawn_limit is %s, and servers that wait in a queue count towards it: people "
                "will be told to try again later. Leave it to configure(), and pace with hub.concurrent_starts",
                limit,
            )

    # From options to a plan.  Forms, links, REST and saved options all pass _run_apply_user_options.

    async def decide(self, user_options: Any) -> Plan:
        """What this server would be with these options, now.  Raises Refusal.  Changes nothing."""
        wishes = options.request(user_options, hub_user=self.user.name, server=self.name or "", pod_name=self.pod_name)
        installation = self.research
        identity = await installation.resolver.resolve(self.user.name)
        decided = plan(
            installation.site,
            identity,
            wishes,
            run_id=uuid.uuid4().hex,
            now=datetime.now(timezone.utc),
            secret=self._secret(),
        )
        await installation.prerequisites(self.api.api_client).require(decided.prerequisites)
        return decided

    def _secret(self) -> bytes:
        settings = getattr(self.user, "settings", None) or {}
        return adoption_secret(settings.get("cookie_secret"))

    async def get_options_form(self) -> str:
        """Never empty: the hub takes an empty form for "start at once"."""
        return await options_page(self)

    async def run_options_from_form(self, form_data: dict[str, Any]) -> dict[str, Any]:
        """Refused before anything begins, so that the form can say so at the field, whatever the hub's time limits."""
        asked = chosen_by_form(form_data)
        try:
            await self.decide(asked)
        except Refusal as refusal:
            Shown(asked, refusal, self.name or "").keep(self.user)
            raise HubRefusal(refusal) from None
        return asked

    def options_from_query(self, query_data: dict[str, Any]) -> dict[str, Any]:
        """A link chooses in the form and starts nothing."""
        Shown(chosen_by_link(query_data), None, self.name or "").keep(self.user)
        raise Preselected

    async def _run_apply_user_options(self, user_options: Any) -> None:
        try:
            decided = await self.decide(user_options)
        except Refusal as refusal:
            # The hub has saved them already; kept, they would refuse every later start without a form.
            self.user_options = self.orm_spawner.user_options = self._accepted_options or {}
            self._kept = refusal.status == 503
            raise HubRefusal(refusal) from None
        self._accepted_options = copy.deepcopy(user_options)
        self._use(decided)

    def _use(self, decided: Plan) -> None:
        """KubeSpawner's own settings first, so that the base pod and the admin's hooks already see who runs."""
        self._plan, self._manifest = decided, None
        self.namespace = decided.namespace
        self.uid, self.gid, self.fs_gid = decided.identity.uid, decided.identity.gid, None
        self.supplemental_gids = list(decided.identity.supplementary_gids)
        self.scheduler_name = decided.marks.scheduler_name
        self.priority_class_name = decided.marks.priority_class or ""
        self.cpu_limit = self.cpu_guarantee = float(decided.resources.cpu)
        self.mem_limit = self.mem_guarantee = decided.resources.memory
        # KubeSpawner's instance may serve several starts; what one profile set must not stay for the next.
        self.image = decided.image or self._own_image

    async def load_user_options(self) -> None:
        """Nothing is left to load: the options became the plan before the start."""

    # Start, wait, stop.

    def start(self) -> asyncio.Future[str]:
        # The hub reads start_timeout once, right after this returns, and saves the state.
        limits = self.research.site.hub
        self._starting, self._was_starting, self._last_event = True, False, None
        self.start_timeout = int((limits.queue_limit + limits.boot_limit).total_seconds()) + SLACK_SECONDS
        self.orm_spawner.state = self.get_state()
        future: asyncio.Future[str] = super().start()
        return future

    async def _start(self) -> str:
        if self._plan is None:
            raise HubRefusal(Refusal("not-decided", "Nothing was decided for this start.", status=503))
        owned_objects = self.research.owned_objects(self.api.api_client)
        self._wait = Wait(self._plan, self.research.site.hub, MAIN, owned_objects=owned_objects.of)
        try:
            url: str = await super()._start()
            await self._until_it_listens(url, self._wait)
        except Refusal as refusal:
            await self._remove_failed()
            raise HubRefusal(refusal) from None
        except ApiException as error:
            raise HubRefusal(_by_cluster(error)) from None
        except aiohttp.ClientError as error:
            self.log.error("The API server did not answer while %s started: %r", self._log_name, error)
            raise HubRefusal(cluster_down()) from None
        except asyncio.TimeoutError as error:
            slow = Refusal("cluster-slow", f"The cluster is too slow: {error}", status=503, hint="Try again later.")
            raise HubRefusal(slow) from None
        finally:
            self._turn.release()
            self._wait = None
        self._starting = False
        return url

    async def _until_it_listens(self, url: str, wait: Wait) -> None:
        """KubeSpawner is content with a running container, which may crash before it answers: then the hub would
        say that it did not respond, and not why."""
        while not await listens(url):
            pod = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
            wait.look(pod)
            await asyncio.sleep(SECONDS_BETWEEN_KNOCKS)

    async def _remove_failed(self) -> None:
        """KubeSpawner's poll says of a Failed pod that nothing runs, so nobody would stop it.

        Raises nothing: the person is to read why the start ended.
        """
        if self._wait is None or not self._wait.has_looked:
            return
        try:
            if not self._wait.has_seen_pod:
                await self._start_watching_pods(replace=True)
            await self.stop(now=True)
        except (ApiException, aiohttp.ClientError, asyncio.TimeoutError) as error:
            self.log.error("The pod of %s could not be deleted: %r", self._log_name, error)

    async def _make_create_pod_request(self, pod: V1Pod, request_timeout: float) -> bool:
        """Called again until it returns True.  The admin's hooks have had the pod; nobody has it after check."""
        if self._plan is None or self._wait is None:
            raise Refusal("not-decided", "Nothing was decided for this start.", status=503)
        if self._manifest is None:
            self._manifest = self.finished(pod)
        await self.research.prerequisites(self.api.api_client).require(self._plan.prerequisites)
        await self._turn.take()
        # A field that the server does not know would be dropped in silence, and supplementalGroupsPolicy may be one.
        request = self.api.create_namespaced_pod(self._plan.namespace, self._manifest, field_validation="Strict")
        create = asyncio.ensure_future(request)
        try:
            await asyncio.wait_for(asyncio.shield(create), request_timeout)
        except (asyncio.TimeoutError, aiohttp.ClientError) as error:
            create.cancel()
            self.log.warning("The API server did not answer to a create (%r); asking again", error)
            return False
        except asyncio.CancelledError:
            resume.in_background(self._discard(create))
            raise
        except ApiException as error:
            if error.status != 409:
                raise
            return await self._adopt(self._plan, self._wait)
        return True

    def finished(self, pod: V1Pod) -> Json:
        """The pod as it is sent: composed from the plan over KubeSpawner's, and checked.  Raises Refusal."""
        if self._plan is None:
            raise Refusal("not-decided", "Nothing was decided for this start.", status=503)
        base = self.api.api_client.sanitize_for_serialization(pod)
        manifest = compose(self._plan, base, notebook.SLOTS)
        check(self._plan, manifest, notebook.SLOTS)
        return manifest

    async def _adopt(self, decided: Plan, wait: Wait) -> bool:
        """There is a pod of this name.  Our own from before goes on, with its place in the queue; another goes away."""
        found = await self._pod_of_this_name(decided.namespace)
        if found is None:
            return False  # gone again meanwhile; the create is repeated
        token = adoption.api_token(found, MAIN)
        if adoption.is_own(decided, found) and token is not None:
            self.log.info("Adopting pod %s/%s of %s", decided.namespace, self.pod_name, self.user.name)
            # By its name the hub takes it for the server's token again (User.spawn: "re-used an API token").
            self.api_token = token
            wait.adopt(found)
            return True
        if (holder := adoption.other_holder(decided, found)) is not None:
            self.log.error("Pod %s/%s is of %r: is pod_name_template unique?", decided.namespace, self.pod_name, holder)
            self._kept = True  # or the hub, cleaning up, would find it running and stop it
            raise Refusal(
                "pod-name-taken",
                f"Somebody else's server runs in the pod {self.pod_name!r}, which yours would be called.",
                hint="Ask the people who run this hub.",
                status=503,
            )
        self.log.info("Replacing pod %s/%s, which is not this server's", decided.namespace, self.pod_name)
        await self.stop(now=True)
        return False

    async def _pod_of_this_name(self, namespace: str) -> Json | None:
        """As it is now; None when there is none, or nobody says."""
        try:
            answer = await self.api.read_namespaced_pod(
                self.pod_name, namespace, _preload_content=False, _request_timeout=self.k8s_api_request_timeout
            )
            async with answer:
                return dict(await answer.json()) if answer.status == 200 else None
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            self.log.warning("The API server did not say which pod is there (%r)", error)
            return None

    async def _discard(self, create: asyncio.Future[Any]) -> None:
        """The start was given up while the API server was creating the pod: nobody else would ever delete it."""
        try:
            made = await asyncio.wait_for(create, self.k8s_api_request_retry_timeout)
            body = V1DeleteOptions(preconditions=V1Preconditions(uid=made.metadata.uid))
            await self.api.delete_namespaced_pod(made.metadata.name, made.metadata.namespace, body=body)
        except (ApiException, asyncio.TimeoutError):
            return

    def is_pod_running(self, pod: Json | None) -> bool:
        """KubeSpawner's start asks this every few seconds, and what is raised here ends its wait at once."""
        ready = is_ready(pod, MAIN)
        if ready or self._wait is None or asyncio.current_task() is not self._start_future:
            return ready
        self._wait.look(pod)
        if self._wait.is_admitted:
            self._turn.count()
        elif self._wait.is_queued:
            self._turn.release()
        return False

    async def stop(self, now: bool = False) -> None:
        """KubeSpawner waits start_timeout for the pod to vanish, and ours is a day long."""
        start_timeout = self.start_timeout
        self.start_timeout = int(self.research.site.hub.stop_limit.total_seconds())
        telling = asyncio.ensure_future(stopping.tell(self))
        try:
            await super().stop(now)
        finally:
            telling.cancel()
            self._stop_waits_for = ""
            self.start_timeout = start_timeout

    # What survives the hub.

    async def poll(self) -> int | None:
        """A server that was starting when the hub ended is let go: its row, not its pod.  A new start adopts it."""
        await self._start_watching_pods()
        pod = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        lets_go = self._was_starting and self._start_future is None and _goes_on(pod) and not self._is_blocked
        if self._kept or lets_go:
            if self._was_starting and not self._kept:
                resume.soon(self)
            self._was_starting = False
            self._kept = True
            return 0
        if pod is not None and why_not_gone(pod):
            # It was asked to end and has: KubeSpawner would delete it again, wait for it, and end a start with a 500.
            return 0
        return await super().poll()  # type: ignore[no-any-return]

    @property
    def _is_blocked(self) -> bool:
        """The hub stops a blocked person's servers when it begins, and only what its poll says runs."""
        return self.user.name in (getattr(self.authenticator, "blocked_users", None) or ())

    def get_state(self) -> Json:
        state: Json = super().get_state()
        state[STATE] = {"starting": self._starting, "options": self._accepted_options}
        if self._stop_waits_for:
            state[STATE]["stop_waits_for"] = self._stop_waits_for
        return state

    def load_state(self, state: Json) -> None:
        super().load_state(state)
        own = state.get(STATE) or {}
        self._was_starting = own.get("starting") is True
        self._accepted_options = own.get("options")

    def clear_state(self) -> None:
        super().clear_state()
        self._starting = self._was_starting = self._kept = False

    # What the person sees meanwhile.

    async def _start_watching_events(self, replace: bool = False) -> Any:
        return await self._start_reflector(
            kind="events",
            reflector_class=IndexedEvents,
            fields={"involvedObject.kind": "Pod"},
            omit_namespace=self.enable_user_namespaces,
            replace=replace,
        )

    @property
    def events(self) -> list[Json]:
        """This pod's events since the start began, oldest first."""
        found: list[Json] = self.event_reflector.of(self.pod_name) if self.event_reflector else []
        for index, event in enumerate(found):
            if self._last_event and event["metadata"]["uid"] == self._last_event:
                return found[index + 1 :]
        return found

    async def progress(self) -> AsyncIterator[Json]:
        async for told in progress.of(self):
            yield told


def _goes_on(pod: Json | None) -> bool:
    if pod is None or "deletionTimestamp" in pod["metadata"]:
        return False
    return (pod.get("status") or {}).get("phase") in ("Pending", "Running")


def _by_cluster(error: ApiException) -> Refusal:
    """An admission policy, a quota or the API server itself said no."""
    told = progress.message_of(error)
    return webhook_down(told) or Refusal(
        "cluster-refused",
        f"The cluster did not take the pod: {told}",
        status=503,
        hint="If you cannot make sense of it, show it to the people who run this hub.",
    )
