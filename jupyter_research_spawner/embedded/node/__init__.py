"""A node of the embedded cluster: its kubelet runs containers as processes of this machine."""
