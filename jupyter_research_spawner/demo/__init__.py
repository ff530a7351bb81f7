"""The demo: a cluster, a JupyterHub and the batch service on one machine, and a tour that checks their behaviour."""
