"""JupyterHub notebooks and batch jobs that run as the person who started them."""
