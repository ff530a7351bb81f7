"""Write the table of schedulers as Markdown, from the registry of schedulers."""

from __future__ import annotations

from jupyter_research_spawner.schedulers import SCHEDULERS


def markdown() -> str:
    """Return a table with one row for each scheduler: its kind, what it is, and its settings of a queue."""
    rows = [f"| `{kind}` | {_about(kind)} | {_options(kind)} |" for kind in SCHEDULERS]
    return "\n".join(("| kind | scheduler | settings of a queue |", "|---|---|---|", *rows))


def _about(kind: str) -> str:
    """Return the first sentence of the module's docstring."""
    return " ".join(str(SCHEDULERS[kind].__doc__).split()).partition(". ")[0].rstrip(".")


def _options(kind: str) -> str:
    page = f"settings.md#setting-queues-name-{kind}"
    fields = SCHEDULERS[kind].QueueOptions.model_fields
    return ", ".join(f"[`{kind}.{name}`]({page}-{name.replace('_', '-')})" for name in fields) or "none"
