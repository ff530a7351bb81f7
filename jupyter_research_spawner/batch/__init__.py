"""The batch service: jobs that people submit from their notebooks, over HTTP, as themselves."""
