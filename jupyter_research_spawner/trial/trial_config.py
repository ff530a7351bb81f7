"""The configuration of the hub of a trial.  The hub's process runs this file; TRIAL_FILE names its parts.

The administrator's own configuration comes first.  What it says about the network, the login, other services and the
cluster is replaced, so that nothing outside this machine is reached.
"""

import os

from jupyter_research_spawner.trial.hub_traits import apply_trial

apply_trial(get_config(), os.environ["TRIAL_FILE"], load_subconfig)  # type: ignore[name-defined]  # noqa: F821
