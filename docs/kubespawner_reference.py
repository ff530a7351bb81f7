"""Write the tables of KubeSpawner's traits as Markdown, from the table of the hub's configuration."""

from __future__ import annotations

from jupyter_research_spawner.configuration.kubespawner_traits import TRAITS, chart_key

TITLES = {
    "refused": "Refused",
    "decided": "Decided by the settings of the site",
    "kept": "Kept",
}


def markdown() -> str:
    """Return a section with a table for each verdict."""
    return "\n\n".join(f"## {title}\n\n{_table(verdict)}" for verdict, title in TITLES.items())


def _table(verdict: str) -> str:
    head = {
        "refused": "| trait | in the chart | why |",
        "decided": "| trait | in the chart | set instead | why |",
        "kept": "| trait | in the chart | notes |",
    }[verdict]
    rows = [
        "| " + " | ".join(_cells(name, verdict)) + " |" for name in sorted(TRAITS) if TRAITS[name].verdict == verdict
    ]
    return "\n".join((head, "|" + "---|" * (head.count("|") - 1), *rows))


def _cells(name: str, verdict: str) -> list[str]:
    trait = TRAITS[name]
    chart = ", ".join(f"`{key}`" for key in chart_key(name).split(" or ") if key)
    instead = [f"`{trait.setting}`".replace(" and ", "` and `") if trait.setting else ""]
    return [f"`{name}`", chart, *(instead if verdict == "decided" else []), trait.why]
