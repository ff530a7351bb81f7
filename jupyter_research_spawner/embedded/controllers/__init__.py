"""The controllers of the embedded cluster: the Job controller and the pod scheduler."""
