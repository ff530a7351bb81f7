"""Batch jobs from a notebook: submit, list, show, logs, cancel, remove.  Standard library only, Python 3.8 or newer.

In a notebook of the hub the command `job` is this package in one file, and the file can be imported:

    import shutil, sys
    sys.path.insert(0, shutil.which("job"))
    import research_jobs

    job = research_jobs.submit(["python", "train.py"], wall_time="8h")
    for line in research_jobs.logs(job.id, follow=True):
        print(line, end="")

If jupyter_research_spawner is installed, `from jupyter_research_spawner.client import research_jobs` also works.
"""

from .functions import cancel, list_jobs, logs, remove, show, submit
from .job_errors import JobsError, NotReady, Refused
from .job_model import Attempt, Job
from .version import VERSION as __version__

list = list_jobs  # not in __all__: a star import must not hide the builtin

__all__ = [
    "Attempt",
    "Job",
    "JobsError",
    "NotReady",
    "Refused",
    "__version__",
    "cancel",
    "logs",
    "remove",
    "show",
    "submit",
]
