"""One module per controller that runs beside the cluster: how to configure, start and remove it."""
