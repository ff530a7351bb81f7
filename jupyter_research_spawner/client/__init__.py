"""The client that runs in a notebook: `research_jobs`, without dependencies, and `archive`, which packs it."""
