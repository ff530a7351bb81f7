"""The notebook: a pod that KubeSpawner makes and a user works in, and the options that a user may choose for it."""

from pydantic import Field

from ..shape import NOTEBOOK_KIND, Slots, Template
from .parsing import Choice, Submitted

KIND = NOTEBOOK_KIND
# KubeSpawner's name for the container (kubespawner.objects.make_pod).
SLOTS = Slots((Template((), "notebook"),), interactive=True)


class NotebookOptions(Submitted):
    """JupyterHub's user_options."""

    course: Choice | None = Field(None, alias="class", title="Class, a course with its own profile and queue")


OPTIONS = tuple(field.alias or name for name, field in NotebookOptions.model_fields.items())
