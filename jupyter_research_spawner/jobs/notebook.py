"""Kind `notebook`: a pod that KubeSpawner creates, and the options that a user can choose for it."""

from pydantic import Field

from ..shape import Slots, Template
from .parsing import Choice, Submitted

# The container's name in KubeSpawner (kubespawner.objects.make_pod).
SLOTS = Slots((Template((), "notebook"),), interactive=True)


class NotebookOptions(Submitted):
    """The `user_options` of JupyterHub."""

    course: Choice | None = Field(None, alias="class", title="Class, a course with its own profile and queue")


OPTIONS = tuple(field.alias or name for name, field in NotebookOptions.model_fields.items())
