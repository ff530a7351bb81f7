"""One module per kind of job: it declares its slots and never names a scheduler."""
