"""What all settings models share: strict models, units, references to secrets, and merging of files."""

from .merge import merge, read
from .problems import SettingsError
from .secret import Secret
from .strict import ByName, Groups, Name, Settings, ordered
from .units import Bytes, Cores, Duration, format_duration, parse_duration

__all__ = [
    "ByName",
    "Bytes",
    "Cores",
    "Duration",
    "Groups",
    "Name",
    "Secret",
    "Settings",
    "SettingsError",
    "format_duration",
    "merge",
    "ordered",
    "parse_duration",
    "read",
]
