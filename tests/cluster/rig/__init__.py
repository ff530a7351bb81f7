"""A real Kubernetes on this machine: etcd, API server, controllers, scheduler, containerd and kubelets, for the tests.

Nothing here knows the product.  Needs root, because containers do.
"""
