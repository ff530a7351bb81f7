"""One module per controller that runs beside the cluster: how it is configured, started and taken away again."""
