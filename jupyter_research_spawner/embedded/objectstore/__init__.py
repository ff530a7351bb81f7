"""Storage of objects: defaults, admission, validation, deletion, garbage collection.  Controllers use it directly."""
