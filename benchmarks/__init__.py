"""Compare the cost of ResearchSpawner with that of KubeSpawner: `python -m benchmarks`."""
