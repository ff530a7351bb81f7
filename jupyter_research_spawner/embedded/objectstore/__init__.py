"""The store of all objects, with defaults, admission, validation and deletion.  Controllers use it without HTTP."""
