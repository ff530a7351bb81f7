"""Fields of a PodSpec from two places: both hold, or the two places are named."""

from __future__ import annotations

from typing import Any

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from jupyter_research_spawner.jobs.notebook import SLOTS
from jupyter_research_spawner.pod import check, compose
from jupyter_research_spawner.refusal import Refusal
from jupyter_research_spawner.settings import SettingsError
from jupyter_research_spawner.site import Site
from jupyter_research_spawner.site.pod_fields import PodFields
from jupyter_research_spawner.site.pod_merge import Contradiction, merge_field

Json = dict[str, Any]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def expression(key: str, *values: str) -> Json:
    return {"key": key, "operator": "In", "values": list(values)}


def term(*expressions: Json) -> Json:
    return {"matchExpressions": list(expressions)}


def node_affinity(*terms: Json) -> Json:
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}


USER_NODES = expression("hub.jupyter.org/node-purpose", "user")
A100 = expression("nvidia.com/gpu.product", "A100")
H100 = expression("nvidia.com/gpu.product", "H100")


def test_required_node_affinity_of_both_places_holds() -> None:
    """Two terms would be alternatives: with the chart's own, an A100 notebook could run on any user node."""
    merged = merge_field("affinity", node_affinity(term(USER_NODES)), node_affinity(term(A100), term(H100)))
    assert merged == node_affinity(term(USER_NODES, A100), term(USER_NODES, H100))


labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"))
expressions = st.builds(expression, st.sampled_from("ab"), st.sampled_from("xy"))
terms = st.lists(st.lists(expressions, max_size=2).map(lambda found: term(*found)), min_size=1, max_size=3)


def matches(affinity: Json, node: dict[str, str]) -> bool:
    """As kube-scheduler does: one term, and all expressions of that term; an empty term matches no node."""
    return any(
        found.get("matchExpressions") and all(node.get(e["key"]) in e["values"] for e in found["matchExpressions"])
        for found in affinity["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    )


@given(one=terms, other=terms, node=labels)
def test_a_node_matches_the_merged_affinity_if_it_matches_both(one: list[Json], other: list[Json], node: Any) -> None:
    first, second = node_affinity(*one), node_affinity(*other)
    merged = merge_field("affinity", first, second)
    assert matches(merged, node) == (matches(first, node) and matches(second, node))
    assert merge_field("affinity", merged, second) == merged


def test_other_affinity_is_appended_because_all_of_it_holds() -> None:
    spread = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
    preferred = {"weight": 1, "preference": term(A100)}
    merged = merge_field(
        "affinity",
        {"podAntiAffinity": {REQUIRED: [spread]}, **node_affinity(term(USER_NODES))},
        {
            "podAntiAffinity": {REQUIRED: [{**spread, "topologyKey": "zone"}]},
            "nodeAffinity": {PREFERRED: [preferred]},
        },
    )
    assert merged == {
        "podAntiAffinity": {REQUIRED: [spread, {**spread, "topologyKey": "zone"}]},
        "nodeAffinity": {PREFERRED: [preferred], REQUIRED: {"nodeSelectorTerms": [term(USER_NODES)]}},
    }


def constraint(skew: int) -> Json:
    return {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "maxSkew": skew}


@pytest.mark.parametrize(
    ("field", "present", "added", "merged"),
    [
        ("tolerations", [{"key": "a"}], [{"key": "a"}, {"key": "b"}], [{"key": "a"}, {"key": "b"}]),
        ("imagePullSecrets", [{"name": "a"}], [{"name": "b"}, {"name": "a"}], [{"name": "a"}, {"name": "b"}]),
        (
            "hostAliases",
            [{"ip": "10.0.0.1", "hostnames": ["a"]}],
            [{"ip": "10.0.0.1", "hostnames": ["b", "a"]}, {"ip": "10.0.0.2", "hostnames": ["c"]}],
            [{"ip": "10.0.0.1", "hostnames": ["a", "b"]}, {"ip": "10.0.0.2", "hostnames": ["c"]}],
        ),
        ("topologySpreadConstraints", [constraint(1)], [constraint(1)], [constraint(1)]),
        (
            "dnsConfig",
            {"searches": ["a.edu"], "options": [{"name": "ndots", "value": "2"}]},
            {"searches": ["b.edu"], "options": [{"name": "edns0"}]},
            {"searches": ["a.edu", "b.edu"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]},
        ),
        ("nodeSelector", {"a": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
    ],
)
def test_lists_and_maps_are_merged_by_their_keys(field: str, present: Any, added: Any, merged: Any) -> None:
    assert merge_field(field, present, added) == merged
    assert merge_field(field, merged, added) == merged


CONTRADICTIONS = {
    "nodeSelector": ({"pool": "cpu"}, {"pool": "gpu"}, "is 'cpu', but it must be 'gpu'"),
    "topologySpreadConstraints": ([constraint(1)], [constraint(2)], "same topologyKey and whenUnsatisfiable"),
    "dnsConfig": (
        {"options": [{"name": "ndots", "value": "2"}]},
        {"options": [{"name": "ndots", "value": "5"}]},
        "which have the same name",
    ),
}


@pytest.mark.parametrize("field", CONTRADICTIONS)
def test_contradictions_of_the_hub_and_the_settings_are_refused_with_the_field(field: str) -> None:
    present, added, message = CONTRADICTIONS[field]
    with pytest.raises(ValueError, match=message):
        merge_field(field, present, added)
    site = samples.site_with({"pods": {"base": {field: added}}})
    with pytest.raises(Refusal) as refused:
        composed(site, {field: present})
    assert str(refused.value.field).startswith(f"spec.{field}")
    assert message in refused.value.message
    assert "KubeSpawner's settings and hooks" in refused.value.hint


def composed(site: Site, spec: Json) -> Json:
    decided = samples.decide(site, samples.person("alice"))
    pod = samples.notebook_pod()
    pod["spec"].update(spec)
    sent = compose(decided, pod, SLOTS)
    check(decided, sent, SLOTS)
    assert compose(decided, sent, SLOTS) == sent
    return sent


def test_the_charts_node_affinity_and_the_profiles_both_hold_in_the_pod() -> None:
    """Also that of `pods.base`: base, profile and chart."""
    zone = expression("topology.kubernetes.io/zone", "a")
    site = samples.site_with(
        {
            "pods": {"base": {"affinity": node_affinity(term(zone))}},
            "profiles": {"small": {"pod": {"affinity": node_affinity(term(A100))}}},
        }
    )
    sent = composed(site, {"affinity": node_affinity(term(USER_NODES))})
    assert sent["spec"]["affinity"] == node_affinity(term(USER_NODES, zone, A100))


def test_profile_adds_to_the_base_and_replaces_its_keys() -> None:
    base = PodFields(nodeSelector={"pool": "cpu", "disk": "ssd"})
    assert PodFields(nodeSelector={"pool": "gpu"}).over(base).nodeSelector == {"pool": "gpu", "disk": "ssd"}
    pods = {"base": {"topologySpreadConstraints": [constraint(1)]}}
    profiles = {"small": {"pod": {"topologySpreadConstraints": [constraint(2)]}}}
    with pytest.raises(SettingsError, match=r"profiles\.small\.pod: topologySpreadConstraints has .* in pods\.base"):
        samples.site_with({"pods": pods, "profiles": profiles})


def test_every_list_field_of_the_settings_is_known_here() -> None:
    """A new list field must say how two of its values become one."""
    lists = {name for name, field in PodFields.model_fields.items() if "list" in str(field.annotation)}
    assert lists == {"tolerations", "imagePullSecrets", "hostAliases", "topologySpreadConstraints"}


@pytest.mark.parametrize(
    "present",
    ["x", {"nodeAffinity": "x"}, {"nodeAffinity": {REQUIRED: "x"}}, {"nodeAffinity": {REQUIRED: {"terms": []}}}],
)
def test_another_form_than_that_of_the_api_is_a_contradiction(present: Any) -> None:
    with pytest.raises(Contradiction, match="affinity"):
        merge_field("affinity", present, node_affinity(term(A100)))
