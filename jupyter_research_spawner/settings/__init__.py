"""What all settings models share: strict models, units, references to secrets, and merging of files."""

from .merge import merge, merge_values, read, without_nulls
from .places import Place, Places
from .problems import SettingsError
from .secret import Secret
from .strict import ByName, Groups, Name, Settings, SeveralProblems, Title, ordered
from .units import Bytes, Cores, Duration, format_duration, parse_duration
from .yaml_file import Document, read_document

__all__ = [
    "ByName",
    "Bytes",
    "Cores",
    "Document",
    "Duration",
    "Groups",
    "Name",
    "Place",
    "Places",
    "Secret",
    "Settings",
    "SettingsError",
    "SeveralProblems",
    "Title",
    "format_duration",
    "merge",
    "merge_values",
    "ordered",
    "parse_duration",
    "read",
    "read_document",
    "without_nulls",
]
