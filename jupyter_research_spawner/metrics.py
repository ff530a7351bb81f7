"""The counters of this project, in the registry of the process. JupyterHub and the batch service serve it at /metrics.

Source: Prometheus, Metric and label naming.
"""

from __future__ import annotations

from prometheus_client import Counter

# kind: notebook or a kind of job. outcome: one of OUTCOMES.
OUTCOMES = ("waiting-refused", "waiting-renewed", "running-refused", "running-stopped", "running-changed")
RIGHTS_CHANGED = Counter(
    "research_spawner_rights_changed",
    "Notebooks and jobs whose user's rights have changed since they were created",
    ("kind", "outcome"),
)
