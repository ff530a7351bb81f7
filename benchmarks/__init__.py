"""What ResearchSpawner costs, against plain KubeSpawner in the same run: `python -m benchmarks`."""
