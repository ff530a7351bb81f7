"""What runs inside a notebook: `research_jobs`, standard library only, and `archive`, which packs it into one file."""
