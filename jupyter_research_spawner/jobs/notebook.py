"""The notebook: a pod that KubeSpawner makes and a person works in."""

from ..shape import NOTEBOOK_KIND, Slots, Template

KIND = NOTEBOOK_KIND
# KubeSpawner's name for it (kubespawner.objects.make_pod).
SLOTS = Slots((Template((), "notebook"),), interactive=True)
