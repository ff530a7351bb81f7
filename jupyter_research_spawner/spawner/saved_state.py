"""What the hub's database keeps about a server, so that a restarted hub finds each pod of the server.

KubeSpawner saves the pod's name and namespace. This class also saves whether the server was starting, the uid of its
pod, the options that were accepted, pods that the server may have left at other places, and why it ended.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner

from ..api_object import annotations_of
from ..jobs import notebook
from ..pod.overlay import USER_NAME
from ..shape import Json
from ..watch.pod_end import End
from .end_recorder import EndRecorder
from .end_watch import EndWatch
from .hub_errors import HubRefusal
from .left_pods import LeftPod, delete_left_pod
from .pod_creation import refusal_of
from .pod_owner import is_of_this_hub
from .process_state import adoption_secret
from .recorded_ends import STATE_KEY, read_ends, write_ends
from .resume import request_stop

MAIN = notebook.SLOTS.main


class SavedStateSpawner(KubeSpawner):  # type: ignore[misc]
    """A KubeSpawner whose state in the hub's database leads to each pod that its server may have."""

    _accepted_options: Any = None
    # The profile, class and queue of the last start, which the options leave out where the user took the default.
    _last_choices: Any = None
    # get_state saves `_is_starting` in the hub's database. After a restart, load_state sets `_was_interrupted` from it.
    _is_starting = False
    _was_interrupted = False
    # Whether the hub's database says that the server ran or was starting when the hub went down.
    _may_run_since_restart = False
    # While this is set, poll reports the server as stopped, so that the hub does not delete its pod.
    _leaves_pod_alone = False
    # Whether someone has cancelled the start on the hub's pages.
    is_cancelled = False
    stop_waits_for = ""
    # Whether the hub went down during a start, so that there may be a pod, and the user's name in the hub at that time.
    _may_have_pod = False
    _user_of_start = ""
    _pod_uid = ""
    _rights_check: asyncio.Task[None] | None = None
    _wall_time_watch: asyncio.Task[None] | None = None
    # A sentence about the user's rights, which the hub's pages show until the next start.
    notice = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._left_pods: list[LeftPod] = []
        self.end_recorder = EndRecorder(self, MAIN)
        # Held while the hub ends the server because of its wall time, or extends the wall time.
        self.wall_time_lock = asyncio.Lock()
        super().__init__(*args, **kwargs)
        self.end_watch = EndWatch(self, MAIN, self.shared.notifying)

    @property
    def hub_settings(self) -> Json:
        """Return the settings of the hub's web application; {} outside of a hub."""
        return getattr(self.user, "settings", None) or {}

    @property
    def hub_secret(self) -> bytes:
        """Return the hub's secret for keys of pods; empty if the hub has none."""
        return adoption_secret(self.hub_settings.get("cookie_secret"))

    def get_state(self) -> Json:
        state: Json = super().get_state()
        state[STATE_KEY] = {
            "starting": self._is_starting or self._may_have_pod,
            "options": self._accepted_options,
            "last": self._last_choices,
            "user": self.user.name,
            "pod_uid": self._pod_uid,
            "left": [left.as_state() for left in self._left_pods],
        }
        if self.end_recorder.ends:
            state[STATE_KEY]["ends"] = write_ends(self.end_recorder.ends)
        if self.notice:
            state[STATE_KEY]["notice"] = self.notice
        if self.stop_waits_for:
            state[STATE_KEY]["stop_waits_for"] = self.stop_waits_for
        return state

    def load_state(self, state: Json) -> None:
        super().load_state(state)
        own = state.get(STATE_KEY) or {}
        self._was_interrupted = own.get("starting") is True
        self._accepted_options = own.get("options")
        self._last_choices = own.get("last")
        self.notice = str(own.get("notice") or "")
        self._may_have_pod = self._was_interrupted
        # The state of an older version has no `pod_uid`.
        has_run = "pod_name" in state and bool(own.get("pod_uid", "unknown"))
        self._may_run_since_restart = self._was_interrupted or has_run
        self._user_of_start = str(own.get("user") or "")
        self._pod_uid = str(own.get("pod_uid") or "")
        self._left_pods = LeftPod.from_state(own.get("left"))
        self.end_recorder.ends = read_ends(state)

    def clear_state(self) -> None:
        if self._is_start_cancelled():
            self.end_recorder.record_cancelled_start()
        place = (self.namespace, self.pod_name)
        super().clear_state()
        if place != (self.namespace, self.pod_name) or self._user_of_start not in ("", self.user.name):
            self._leave(*place)
        self._pod_uid = self._user_of_start = ""
        self._is_starting = self._was_interrupted = self._leaves_pod_alone = self.is_cancelled = False
        self._rights_check = self._wall_time_watch = None
        self.notice = ""
        self.end_recorder.forget_pod()
        self.end_watch.end()

    def _is_start_cancelled(self) -> bool:
        """Return whether the hub has cancelled the start, on its pages or in its REST API."""
        start = self._start_future
        return self.is_cancelled or (self._is_starting and start is not None and start.cancelled())

    def tell(self, notice: str) -> None:
        """Show the notice on the hub's pages, and keep it in the hub's database."""
        if notice:
            self.log.warning("%s: %s", self._log_name, notice)
        self.notice = notice
        self.orm_spawner.state = self.get_state()
        self.user.db.commit()

    async def end_with(self, end: End) -> None:
        """Stop the running server as its user would, and record `end` as the reason."""
        self.end_recorder.planned = end
        await request_stop(self)

    def _leave(self, namespace: str, pod_name: str) -> None:
        """Keep in mind that a pod of an interrupted start may be at a place where the next start does not look."""
        if self._may_have_pod:
            self._left_pods.append(LeftPod(namespace, pod_name, self._user_of_start or self.user.name, self.name))

    async def delete_forever(self) -> None:
        """Delete the pods that the server may have, before the hub forgets the user or the named server."""
        self._leave(self.namespace, self.pod_name)
        await self.delete_left_pods()
        await super().delete_forever()

    async def delete_left_pods(self) -> None:
        """Delete the pods that this server has left, which would run until their wall time. Raises HubRefusal."""
        seconds = self.shared.site.hub.stop_limit.total_seconds()
        while self._left_pods:
            left = self._left_pods[0]
            try:
                await delete_left_pod(
                    self.api, left, self.hub_secret, request_seconds=self.k8s_api_request_timeout, stop_seconds=seconds
                )
            except (ApiException, aiohttp.ClientError, asyncio.TimeoutError) as error:
                self.log.error("Pod %s/%s could not be deleted: %r", left.namespace, left.name, error)
                raise HubRefusal(refusal_of(error)) from None
            self._left_pods.remove(left)

    def _is_own(self, pod: Json) -> bool:
        """Return whether this is the pod of the last start, and not another pod with its name."""
        return self._pod_uid in ("", pod["metadata"].get("uid"))

    async def _leave_replaced_pod(self, pod: Json) -> None:
        """Handle a pod that has replaced this server's pod. The hub must not send users to it."""
        owner = annotations_of(pod).get(USER_NAME)
        self.log.error(
            "Pod %s/%s was replaced: its uid was %s and is %s, and its annotations name %r as its user",
            *(self.namespace, self.pod_name, self._pod_uid, pod["metadata"]["uid"], owner),
        )
        if owner == self.user.name and is_of_this_hub(self.hub_secret, pod):
            await self.stop(now=True)
