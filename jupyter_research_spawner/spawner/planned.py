"""The part of ResearchSpawner that turns a user's options into a plan, and sets KubeSpawner's traits from the plan."""

from __future__ import annotations

import copy
import json
import os
import uuid
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from jupyterhub.utils import maybe_future
from traitlets import Any as AnyTrait
from traitlets import Unicode, default

from ..form import Selected, changed_elsewhere, check_elsewhere, chosen_by_form, chosen_by_link
from ..plan import Plan, plan
from ..refusal import Refusal
from ..shape import Json
from ..storage import env_text, root_above, within
from . import options, templates
from .hub_errors import FormPreselected, HubRefusal, explained_errors, filter_refusals
from .never_fits import require_that_it_fits
from .options_page import OptionsPage, Selection, render_options_page
from .pending_page import queue_title
from .pod_owner import owner_keys
from .pod_wait import PodWait
from .process_state import ProcessState, registered_state
from .resume import resume_ends_with_cancellation, waits_since_restart
from .saved_state import MAIN, SavedStateSpawner
from .start import Start

# The longest options, as JSON, that a spawner keeps after they were refused.
LONGEST_KEPT = 16 * 1024


class PlannedSpawner(SavedStateSpawner):
    """A spawner that decides each start with `plan`, and whose traits for KubeSpawner's pod come from the plan."""

    installation = Unicode(
        help="The key of the registered Site. `jupyter_research_spawner.configure` sets it; do not set it yourself."
    ).tag(config=True)

    # KubeSpawner's trait is a Dict, so JupyterHub 5 answers HTTP 500 if a REST request has a list. With Any,
    # `decide_plan` refuses the list with a message.
    user_options = AnyTrait()

    @default("ip")
    def _all_addresses(self) -> str:
        """Return the address at which notebooks listen: as in KubeSpawner, or that of IPv6 where the cluster has it.

        The hub connects to a pod's first address, whose family is that of the API server's address. A notebook that
        listens at :: does not listen at IPv4 addresses.
        """
        return "::" if ":" in os.environ.get("KUBERNETES_SERVICE_HOST", "") else "0.0.0.0"  # noqa: S104

    current_start: Start | None = None
    # The options of the last start, also if they were refused, so that the user can try the same again.
    asked_options: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What the configuration says, because a plan replaces it for each start.
        self._configured: Json = {trait: getattr(self, trait) for trait in ("image", "working_dir", "notebook_dir")}
        # Else a stop uses the grace period of the pod, because KubeSpawner's default of 1 second is too short to save.
        self._has_grace_period = self.trait_has_value("delete_grace_period")
        self.shared.warn_of_spawn_limit(self.hub_settings, self.log)
        filter_refusals(self.log)

    @property
    def shared(self) -> ProcessState:
        """Return the state that all spawners of the hub process share."""
        return registered_state(self.installation)

    def _expand_all(self, src: Any) -> Any:
        """Expand KubeSpawner's fields in all strings of a setting, and keep other braces, for example those of JSON."""
        return templates.expand(src, self._expand_user_properties)

    # Hooks. The user sees an error id instead of their exceptions, and the log has the traceback under this id.

    def explained_errors(self, what: str) -> AbstractContextManager[None]:
        """Return a context manager that logs an exception of a hook, and raises a HubRefusal with an error id."""
        return explained_errors(self.log, what)

    async def run_auth_state_hook(self, auth_state: Any) -> None:
        with self.explained_errors(f"auth_state_hook of {self._log_name}"):
            await super().run_auth_state_hook(auth_state)

    async def apply_group_overrides(self) -> None:
        with self.explained_errors(f"group_overrides of {self._log_name}"):
            await super().apply_group_overrides()

    async def run_pre_spawn_hook(self) -> None:
        with self.explained_errors(f"pre_spawn_hook of {self._log_name}"):
            await maybe_future(super().run_pre_spawn_hook())

    # Options. JupyterHub calls _run_apply_user_options for options from the form, from REST and from its database.

    async def get_options_form(self) -> OptionsPage:
        """Return the form, which is never empty. For an empty form the hub would start the server immediately."""
        with self.explained_errors(f"The options form of {self._log_name}"):
            return await render_options_page(self, self.shared)

    async def run_options_from_form(self, form_data: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a posted form. If an option is refused, the form shows the error at the field."""
        chosen: dict[str, str] = {}
        kept: dict[str, str] = {}
        try:
            chosen = chosen_by_form(form_data)
            identity = await self.shared.identities(self.api.api_client).resolve(self.user.name)
            site, now = self.shared.site, datetime.now(timezone.utc)
            kept = changed_elsewhere(site, identity, now, form_data)
            check_elsewhere(site, identity, now, form_data)
            await self.decide_plan(chosen)
        except Refusal as refusal:
            Selection(Selected(chosen, refusal=refusal, kept=kept), self.name or "").keep_for_next_form(self.user)
            raise HubRefusal(refusal) from None
        return chosen

    def options_from_query(self, query_data: dict[str, Any]) -> dict[str, Any]:
        """Show the form with the options of a link selected. A link never starts a server."""
        if chosen := chosen_by_link(query_data):
            Selection(Selected(chosen, is_link=True), self.name or "").keep_for_next_form(self.user)
        raise FormPreselected

    async def _run_apply_user_options(self, user_options: Any) -> None:
        """Make the plan of the next start from the options, or refuse the options."""
        # A REST request can have a body of 100 MB.
        self.asked_options = copy.deepcopy(user_options) if _is_short(user_options) else None
        with (
            self.explained_errors(f"The options of {self._log_name}"),
            resume_ends_with_cancellation(self, self.shared),
        ):
            await self._apply_options(user_options)

    async def _apply_options(self, user_options: Any) -> None:
        try:
            decided = await self.decide_plan(user_options)
        except Refusal as refusal:
            # The hub has saved the refused options already, and would use them for every later start without a form.
            self.user_options = self.orm_spawner.user_options = self._accepted_options or {}
            self._leaves_pod_alone = refusal.status == 503
            self.shared.starts.record_refused(self, refusal)
            if not self._leaves_pod_alone:
                await self.delete_left_pods()
            raise HubRefusal(refusal) from None
        self._accepted_options = copy.deepcopy(user_options)
        choices = {"profile": decided.profile, "class": decided.request.course, "queue": decided.queue}
        self._last_choices = choices
        if self.namespace != decided.namespace:
            self._leave(self.namespace, self.pod_name)
        await self.delete_left_pods()
        self.apply_plan(decided)
        self.prepare_start(decided)

    async def decide_plan(self, user_options: Any) -> Plan:
        """Return the plan for these options if its prerequisites exist and it can ever start. Raises Refusal.

        This does not change the spawner.
        """
        decided = await self._decide(user_options)
        await self.shared.prerequisites(self.api.api_client).require(decided.prerequisites)
        # A start that was accepted before a restart of the hub keeps its place: a node may only be away.
        if not waits_since_restart(self, self.shared):
            await require_that_it_fits(self, self.shared, decided)
        return decided

    async def decide_as_accepted(self) -> Plan:
        """Return the plan for the options of the last start, without a request to the API server. Raises Refusal."""
        return await self._decide(self._accepted_options)

    async def _decide(self, user_options: Any) -> Plan:
        request = options.request(user_options, hub_user=self.user.name, server=self.name or "", pod_name=self.pod_name)
        decided = await self.shared.identities(self.api.api_client).decide(
            self.user.name,
            lambda identity: plan(
                self.shared.site,
                identity,
                request,
                run_id=uuid.uuid4().hex,
                now=datetime.now(timezone.utc),
                secret=self.hub_secret,
            ),
        )
        if not self.hub_secret:
            return decided
        keys = owner_keys(
            self.hub_secret,
            self.user.orm_user,
            user=self.user.name,
            server=self.name or "",
            namespace=decided.namespace,
            pod_name=decided.shape.name,
        )
        return replace(decided, owner_keys=keys)

    def apply_plan(self, decided: Plan) -> None:
        """Set KubeSpawner's traits from the plan, so that KubeSpawner's pod and the hooks have the identity."""
        self.namespace = decided.namespace
        self.uid, self.gid, self.fs_gid = decided.identity.uid, decided.identity.gid, None
        self.supplemental_gids = list(decided.identity.supplementary_gids)
        self.scheduler_name = decided.marks.scheduler_name
        self.priority_class_name = decided.marks.priority_class or ""
        self.cpu_limit = self.cpu_guarantee = float(decided.resources.cpu)
        self.mem_limit = self.mem_guarantee = decided.resources.memory
        for trait in ("working_dir", "notebook_dir"):
            setattr(self, trait, self._usable_directory(trait, self._configured[trait], decided))
        # The hub uses one spawner for several starts, so the image of an earlier plan must not remain.
        self.image = decided.image or self._configured["image"]

    def get_env(self) -> Json:
        """Return the variables of the notebook. A number becomes a string, because KubeSpawner fails for numbers."""
        return {name: _variable(value) for name, value in super().get_env().items()}

    def _usable_directory(self, trait: str, directory: str | None, decided: Plan) -> str | None:
        """Return the directory, or the trait's empty value if it is below the homes but not in this user's home.

        Without this, every start would fail: /home/jovyan is in images, but not on the shared file system.
        """
        if not directory or directory.startswith("~"):
            return directory
        # KubeSpawner has expanded working_dir already.
        expanded = directory if trait == "working_dir" else self.format_string(directory)
        # The homes and the shared directories of this user.
        own = [decided.identity.home, *(mount.path for mount in decided.mounts)]
        root = root_above(self.shared.site.storage, expanded)
        if root is None or any(path != root and within(expanded, path) for path in own):
            return directory
        self.log.warning(
            "%s of %s is %r, which is below %s and not in the user's home %r. It has no effect",
            *(trait, self._log_name, expanded, root, decided.identity.home),
        )
        return None if trait == "working_dir" else ""

    def prepare_start(self, decided: Plan) -> None:
        """Use the plan `decided` for the next start."""
        owned_objects = self.shared.owned_objects(self.api.api_client)
        limits = self.shared.site.hub
        nodes = self.shared.nodes(self.api.api_client)
        wait = PodWait(
            decided,
            limits,
            MAIN,
            owned_objects=owned_objects.of,
            events=lambda: self.events,
            nodes=nodes.sizes,
            queue_title=queue_title(self.shared.site, decided.queue),
        )
        self.current_start = Start(decided, self.shared.pacing.new_slot(), wait)

    async def load_user_options(self) -> None:
        """Apply no options, because the plan already contains them.  A hook may have set a profile_list."""
        if self.profile_list:
            self.log.warning(
                "profile_list of %s was set by a hook, and has no effect: users choose from the profiles in the "
                "settings of the site",
                self._log_name,
            )


def _is_short(options: Any) -> bool:
    """Return whether options that a user has sent, valid or not, are short enough to be kept in memory."""
    try:
        return len(json.dumps(options)) <= LONGEST_KEPT
    except (TypeError, ValueError, RecursionError):
        return False


def _variable(value: Any) -> Any:
    """Return the value of a variable, or its EnvVar, with a number as text."""
    if isinstance(value, dict) and "value" in value:
        return {**value, "value": env_text(value["value"])}
    return env_text(value)
