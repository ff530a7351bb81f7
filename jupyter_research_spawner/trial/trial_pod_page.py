"""The page "Show the pod" of a trial: the pod as it runs here, and beside it the pod that the site would send."""

from __future__ import annotations

import difflib
from typing import Any

from ..pod.yaml_text import as_text
from ..spawner.pod_page import PAGE, PodHandler
from ..spawner.pod_preview import preview_pod

# Traits of the spawner as the site has them, if the trial has others.
SITE_TRAITS: dict[str, Any] = {}
# The kinds of the scheduler of the site and of the trial.
SCHEDULERS: list[str] = []


class TrialPodHandler(PodHandler):
    """Shows both pods."""

    template = "trial_pod.html"

    async def shown(self, user: Any, server: str, options: dict[str, str]) -> dict[str, Any]:
        """Return the variables of the template: the running pod, and the site's if it is another one."""
        found = await super().shown(user, server, options)
        if not SITE_TRAITS:
            return found
        site_pod = as_text(await preview_pod(user, server, options, SITE_TRAITS))
        return {
            **found,
            "site_pod": site_pod,
            "pod_differences": differences(site_pod, found["pod"]),
            "site_scheduler": SCHEDULERS[0],
            "scheduler": SCHEDULERS[1],
        }


def differences(site_pod: str, pod: str) -> str:
    """Return the lines that only one of both pods has, each below the last line before it that both have."""
    lines = difflib.unified_diff(site_pod.splitlines(), pod.splitlines(), n=1, lineterm="")
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


HANDLERS = ((rf"/{PAGE}/([^/]+)", TrialPodHandler), (rf"/{PAGE}/([^/]+)/([^/]+)", TrialPodHandler))
