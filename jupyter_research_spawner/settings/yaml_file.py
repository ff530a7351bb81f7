"""Read one settings file, YAML or JSON, as plain data with the place of each value.

PyYAML reads YAML 1.1, and helm reads a mixture of YAML 1.1 and 1.2 (seen with PyYAML 6.0.3 and helm 3.18).  What the
two read differently, or not as it looks, is a problem of the settings: the command and the hub must read the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from ..wording import quote
from .ambiguous_scalars import HELM_BOOLEANS, may_be_secret, why_ambiguous
from .places import Place, Spot, Spots, join
from .problems import Problem, SettingsError, kind_of

Raw = dict[str, Any]

# A Kubernetes Secret, in which the chart keeps values, has at most 1 MiB.
LARGEST_FILE = 4 * 2**20
DEEPEST = 64
# Aliases can repeat a value many times, and repeat that again.
MOST_VALUES = 200_000

_MAP, _LIST, _TEXT = (f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str"))
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "timestamp", "str", "value")}


@dataclass(frozen=True)
class Document:
    """The content of a settings file: plain data whose keys are strings, and the place of each value.

    `ambiguous` has a problem for each key or value that is an ambiguous scalar.  `file` is None for settings
    that are not from a file.
    """

    data: Raw
    spots: Spots = field(default_factory=dict)
    ambiguous: tuple[Problem, ...] = ()
    file: str | None = None

    def below(self, path: str) -> Document:
        """Return the part of the file below a path, with paths that begin there.  It is empty if there is none."""
        found: Any = self.data
        at = ""
        for key in path.split("."):
            found, at = found.get(key), join(at, key)
            if found is None:
                break
            if not isinstance(found, Mapping):
                spot = self.spots.get(at)
                raise SettingsError([Problem(at, f"must be a map, not {kind_of(found)}", spot.value if spot else None)])
        if found is None:
            return Document({}, file=self.file)
        spots = {_after(path, at): spot for at, spot in self.spots.items() if _after(path, at) is not None}
        ambiguous = (Problem(_after(path, one.path) or "", one.message, one.place) for one in self.ambiguous)
        within = tuple(one for one in ambiguous if one.path)
        return Document(found, {at: spot for at, spot in spots.items() if at is not None}, within, self.file)

    def under(self, path: str) -> Document:
        """Return a file that has this content below a path.  It is empty if this file is."""
        if not self.data:
            return self
        data: Raw = self.data
        for key in reversed(path.split(".")):
            data = {key: data}
        ambiguous = tuple(replace(one, path=join(path, one.path)) for one in self.ambiguous)
        spots = {join(path, at) if at else path: spot for at, spot in self.spots.items()}
        return Document(data, {"": self.spots[""], **spots}, ambiguous, self.file)


def _after(path: str, at: str) -> str | None:
    if at == path:
        return ""
    return at[len(path) + 1 :] if at.startswith(f"{path}.") else None


def read_document(path: Path) -> Document:
    """Return the content of a settings file, which is empty for a file without any value.  Raises SettingsError."""
    file = str(path)
    text = _text(path)
    node, data = _compose(file, text)
    if node is None or node.tag == _NULL:
        return Document({}, file=file)
    if node.tag != _MAP:
        raise _invalid(file, node, f"must contain a map at the top level (key: value), not {_kind_of_node(node)}")
    reader = _Reader(file)
    found = reader.map_of(node, "", ())
    if reader.errors:
        raise SettingsError(reader.errors)
    if data is not None:
        return Document(data, reader.spots, file=file)
    return Document(found, reader.spots, tuple(reader.ambiguous), file)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
    except OSError as error:
        hint = ". Name a file" if path.is_dir() else ""
        raise _invalid(str(path), None, f"cannot be read: {error.strerror}{hint}") from None
    except ValueError:  # a null character in the name
        raise _invalid(str(path), None, "is not a valid file name") from None
    if len(content) > LARGEST_FILE:
        raise _invalid(str(path), None, f"is larger than {LARGEST_FILE // 2**20} MiB, so it is not a settings file")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _invalid(str(path), None, "is not valid YAML: it is UTF-16 text. Save it as UTF-8")
    if b"\0" in content:
        raise _invalid(str(path), None, "is not valid YAML: it is a binary file. Name a text file with YAML or JSON")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            [Problem("", "is not valid YAML: it is not UTF-8 text. Save it as UTF-8", Place(str(path), line))]
        ) from None


def _compose(file: str, text: str) -> tuple[yaml.Node | None, Raw | None]:
    """Return the nodes of the file, and its data if it is JSON.  YAML 1.1 does not read every JSON string correctly."""
    data = _json(text)
    # In JSON, tabs can be only between tokens, where they mean the same as spaces.
    loader: Any = None
    try:
        loader = yaml.SafeLoader(text.replace("\t", " ").replace("\\/", "/") if data is not None else text)
        return loader.get_single_node(), data
    except yaml.MarkedYAMLError as error:
        raise _syntax(file, error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"is not valid YAML: it has the control character U+{ord(text[error.position]):04X}"
        raise SettingsError([Problem("", message, Place(file, line))]) from None
    except RecursionError:
        raise _invalid(file, None, f"is nested too deeply. At most {DEEPEST} levels are allowed") from None
    finally:
        if loader is not None:
            loader.dispose()


def _json(text: str) -> Raw | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# PyYAML's messages, and what is shown instead: the cause and the remedy.
_HELP = (
    (r"found character '\t' that cannot start any token", "there is a tab. Indent with spaces"),
    ("that cannot start any token", "a value cannot begin with this character. Quote the value"),
    ("found another document", "it has several documents, separated by ---. Keep one"),
    ("expected '<document start>'", "there is something after the end of the document. Remove it"),
    ("mapping values are not allowed here", "there is a second colon in this line, or the indentation is wrong"),
    ("expected <block end>", "the indentation does not match the lines above"),
    ("could not find expected ':'", "a key has no colon after it, or the indentation is wrong"),
    ("found undefined alias", "an alias (*name) has no anchor (&name) before it"),
)


def _syntax(file: str, error: yaml.MarkedYAMLError) -> SettingsError:
    """Return the error and its position, without the text of the line, which may contain a secret."""
    mark, begin = error.problem_mark or error.context_mark, error.context_mark
    problem = error.problem or "it cannot be read"
    at_end = "end of stream" in problem or "stream end" in problem
    if at_end and begin is not None:
        what = (error.context or "").removeprefix("while scanning a ").removeprefix("while parsing a ")
        mark, problem = begin, f"the {_PARTS.get(what, what) or 'text'} that begins here does not end"
    else:
        problem = next((said for pattern, said in _HELP if pattern in problem), problem)
    if mark is None:
        return SettingsError([Problem("", f"is not valid YAML: {problem}", Place(file))])
    message = f"is not valid YAML: {problem} (column {mark.column + 1})"
    return SettingsError([Problem("", message, Place(file, mark.line + 1))])


_PARTS = {"quoted scalar": "quoted text", "flow mapping": "map in braces", "flow sequence": "list in brackets"}


def _invalid(file: str, node: yaml.Node | None, message: str) -> SettingsError:
    return SettingsError([Problem("", message, Place(file, node.start_mark.line + 1 if node else None))])


def _kind_of_node(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a map"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def _plain(node: yaml.Node) -> str | None:
    """Return the text of a scalar without quotes, or None."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) and node.style is None else None


Entry = tuple[yaml.Node, yaml.Node]


class _Reader:
    """Converts the nodes of a file to plain data, and collects places, errors and ambiguous scalars."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.spots: dict[str, Spot] = {}
        self.errors: list[Problem] = []
        self.ambiguous: list[Problem] = []
        self._values = 0
        self._scalars = yaml.constructor.SafeConstructor()

    def map_of(self, node: yaml.Node, path: str, above: tuple[yaml.Node, ...]) -> Raw:
        """Return the data of the map, which is at `path` and in the nodes `above`.  Raises SettingsError."""
        if not path:
            self.spots[""] = Spot(self._place(node), self._place(node))
        found: Raw = {}
        for key_node, value_node in self._entries(node, path, above):
            key = str(key_node.value)
            at = join(path, key)
            self._check_key(key_node, at)
            where, is_scalar = self._place(key_node), isinstance(value_node, yaml.ScalarNode)
            self.spots[at] = Spot(where, self._place(value_node) if is_scalar else where, _plain(value_node))
            found[key] = self._value(value_node, at, (*above, node))
        return found

    def _value(self, node: yaml.Node, path: str, above: tuple[yaml.Node, ...]) -> Any:
        self._values += 1
        if self._values > MOST_VALUES:
            raise _invalid(
                self.file, node, f"has more than {MOST_VALUES} values, counting each alias. Write fewer aliases"
            )
        if len(above) > DEEPEST:
            raise _invalid(self.file, node, f"is nested too deeply. At most {DEEPEST} levels are allowed")
        if node in above:
            self.errors.append(Problem(path, "contains itself, by an alias. Write the value out", self._place(node)))
            return None
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self.map_of(node, path, above)
        if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            return self._list(node, path, above)
        return self._scalar(node, path)

    def _list(self, node: yaml.SequenceNode, path: str, above: tuple[yaml.Node, ...]) -> list[Any]:
        found = []
        for index, item in enumerate(node.value):
            at = join(path, index)
            self.spots[at] = Spot(self._place(item), self._place(item), _plain(item))
            found.append(self._value(item, at, (*above, node)))
        return found

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _SCALARS:
            message = f"has the tag {quote(node.tag)}, which settings cannot have. Remove it"
            self.errors.append(Problem(path, message, self._place(node)))
            return None
        if _plain(node) is not None and (why := why_ambiguous(node.value, shown=not may_be_secret(path))) is not None:
            self.ambiguous.append(Problem(path, why, self._place(node)))
        return self._constructed(node)

    def _entries(self, node: yaml.Node, path: str, above: tuple[yaml.Node, ...]) -> list[Entry]:
        """Return the entries of a map.  Its own keys take precedence over those of `<<: *anchor`, as YAML defines."""
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for entry in self._merged(value, path, (*above, node)):
                    merged.setdefault(str(entry[0].value), entry)
            elif not isinstance(key, yaml.ScalarNode):
                self.errors.append(
                    Problem(
                        path,
                        f"a key must be text, not {_kind_of_node(key)}. Quote a value that begins with a bracket",
                        self._place(key),
                    )
                )
            elif key.value in own:
                first = own[key.value][0].start_mark.line + 1
                message = f"the key {quote(key.value)} occurs twice, first in line {first}. Keep one of them"
                self.errors.append(Problem(join(path, key.value), message, self._place(key)))
            else:
                own[key.value] = (key, value)
        return [*own.values(), *(entry for key, entry in merged.items() if key not in own)]

    def _merged(self, node: yaml.Node, path: str, above: tuple[yaml.Node, ...]) -> Iterator[Entry]:
        """Yield the entries that `<<: node` adds.  Of several maps, the first one takes precedence."""
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                yield from self._merged(item, path, above)
        elif not isinstance(node, yaml.MappingNode) or node in above or len(above) > DEEPEST:
            self.errors.append(Problem(path, "`<<` must have an alias of a map, such as *base", self._place(node)))
        else:
            self._values += len(node.value)
            if self._values > MOST_VALUES:
                raise _invalid(self.file, node, f"has more than {MOST_VALUES} values, counting each alias")
            yield from self._entries(node, path, above)

    def _check_key(self, key: yaml.Node, path: str) -> None:
        if _plain(key) is None:
            return
        value: Any = self._constructed(key)
        if key.tag != _TEXT and not isinstance(value, str):
            meant = quote(value)
        elif why_ambiguous(key.value) is not None:
            value = HELM_BOOLEANS.get(key.value.lower(), 0)
            meant = quote(value) if value else key.value
        else:
            return
        shown = "" if meant == key.value else f" ({meant})"
        message = f'the key {key.value} is {kind_of(value)}{shown} for YAML, not text. Quote it: "{key.value}"'
        self.ambiguous.append(Problem(path, message, self._place(key)))

    def _constructed(self, node: yaml.Node) -> Any:
        try:
            return self._scalars.construct_object(node)
        except (ValueError, yaml.YAMLError):
            return node.value  # for example a day that does not exist: the text says what is wrong

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1)
