"""Kubernetes API types that all parts of the embedded cluster use: kinds, objects, errors, quantities, selectors."""
