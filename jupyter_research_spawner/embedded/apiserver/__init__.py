"""The HTTP interface of the embedded cluster: requests, watches, patches, logs, tables."""
