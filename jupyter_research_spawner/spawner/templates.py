"""The templates in KubeSpawner's settings, such as `{username}`, and strings with other braces.

KubeSpawner 7.1 calls `str.format` for each string in many of its traits, so JSON or a shell's `${NAME}` in one of them
makes every start fail.  Here such a string keeps its braces, and only KubeSpawner's own fields in it are expanded.  A
string that KubeSpawner can expand is expanded as KubeSpawner documents.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterator
from typing import Any

# The fields of KubeSpawner's documentation ("Templated fields").
FIELDS = frozenset(
    {
        "escaped_servername",
        "escaped_user_server",
        "escaped_username",
        "hubnamespace",
        "namespace",
        "pod_name",
        "pvc_name",
        "safe_servername",
        "safe_user_server",
        "safe_username",
        "servername",
        "unescaped_servername",
        "unescaped_username",
        "user_server",
        "userid",
        "username",
    }
)
# The traits whose strings KubeSpawner expands when it makes a pod.
EXPANDED = (
    "environment",
    "extra_annotations",
    "extra_containers",
    "extra_labels",
    "extra_pod_config",
    "init_containers",
    "service_account",
    "storage_extra_annotations",
    "storage_extra_labels",
    "storage_selector",
    "volume_mounts",
    "volumes",
)
# The traits that are one template each, and their fields.
TEMPLATES = {
    **dict.fromkeys(("pod_connect_ip", "pod_name_template", "pvc_name_template", "working_dir"), FIELDS),
    **dict.fromkeys(("default_url", "notebook_dir"), frozenset({"base_url", "username"})),
    "dns_name_template": frozenset({"name", "namespace"}),
}
# A map with one of these keys is a mount or a volume.  Every brace in it must be part of a field: with a misspelt
# field, all users would share one directory.
_STORAGE = frozenset({"csi", "hostPath", "mountPath", "nfs", "persistentVolumeClaim"})
_FIELD = re.compile(r"\{(?:" + "|".join(sorted(FIELDS)) + r")\}")
# Something that was meant to be a field, as in `{ username }` or `{username`.
_ALMOST = re.compile(r"\{\s*(" + "|".join(sorted(FIELDS)) + r")\b|\b(" + "|".join(sorted(FIELDS)) + r")\s*\}")


def expand(value: Any, format_text: Callable[[str], str], is_strict: bool = False) -> Any:
    """Return the value with all strings in it expanded by `format_text`, which is KubeSpawner's.

    Raises what `str.format` raises for a template for which `why_invalid` returns a reason.
    """
    if isinstance(value, list):
        return [expand(item, format_text, is_strict) for item in value]
    if isinstance(value, dict):
        is_strict = is_strict or bool(_STORAGE & value.keys())
        return {key: expand(below, format_text, is_strict) for key, below in value.items()}
    if isinstance(value, str):
        return format_text(value if is_strict else escape_other_braces(value))
    return value


def escape_other_braces(text: str) -> str:
    """Return the template that gives `text` with KubeSpawner's fields expanded and all other braces unchanged.

    A valid template is returned unchanged, and so is a template with a misspelt field.
    """
    names = _names(text)
    if names is not None and all(name in FIELDS for name in names):
        return text
    if _is_misspelt(text, names):
        return text
    return "".join(
        part if _FIELD.fullmatch(part) else part.replace("{", "{{").replace("}", "}}")
        for part in re.split(f"({_FIELD.pattern})", text)
    )


def invalid_texts(value: Any, place: str, is_strict: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (place, sentence) for each string of an expanded trait that makes every start fail.

    The place is that of the string, such as `c.KubeSpawner.environment['A']`.
    """
    if isinstance(value, dict):
        is_strict = is_strict or bool(_STORAGE & value.keys())
        for key, below in value.items():
            yield from invalid_texts(below, f"{place}[{key!r}]", is_strict)
    elif isinstance(value, (list, tuple)):
        for index, below in enumerate(value):
            yield from invalid_texts(below, f"{place}[{index}]", is_strict)
    elif isinstance(value, str) and (why := why_invalid(value if is_strict else escape_other_braces(value))):
        yield place, why


def why_invalid(template: str, fields: frozenset[str] = FIELDS) -> str:
    """Return why `str.format` fails for the template, and a template that works; "" if it does not fail.

    Only the part of the text that is wrong is shown, because the rest may be a secret.
    """
    names = _names(template)
    unknown = sorted({name for name in names or () if name not in fields})
    if names is not None and not unknown:
        return ""
    near = _ALMOST.search(_FIELD.sub("", template))
    if near:
        return f"has {near[0]!r}, where a brace or a space is wrong. Write {{{near[1] or near[2]}}}"
    if names is None:
        return "has a single brace, but KubeSpawner expands {fields} here. Double a brace that is part of the text"
    return (
        f"has {{{unknown[0]}}}, which is not one of KubeSpawner's fields ({', '.join(sorted(fields))}). If it is part "
        f"of the text, write {{{{{unknown[0]}}}}}"
    )


def _names(text: str) -> list[str] | None:
    """Return the names of all fields in a template of str.format, also of nested ones; None if it is not valid."""
    found: list[str] = []
    try:
        for _, name, spec, _ in string.Formatter().parse(text):
            if name is not None:
                found.append(re.split(r"[.\[]", name, maxsplit=1)[0])
                found += _names(spec) or [] if spec else []
    except ValueError:
        return None
    return found


def _is_misspelt(text: str, names: list[str] | None) -> bool:
    """Return whether the string is meant as a template, although it is not a valid one.

    `{usernam}` is, but the `${NAME}` of a shell and the braces of JSON are not.
    """
    if _ALMOST.search(_FIELD.sub("", text)):
        return True
    if names is None or not all(name.isidentifier() for name in names):
        return False
    of_shell = re.findall(r"\$\{(\w+)", text)
    return any(name not in FIELDS and name not in of_shell for name in names)
