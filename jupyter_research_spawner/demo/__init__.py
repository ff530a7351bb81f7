"""The main job, for real, on one machine: an embedded cluster, a JupyterHub, the batch service, and a tour of them."""
