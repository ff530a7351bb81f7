"""What all parts of the embedded cluster know of the Kubernetes API: kinds, objects, errors, quantities, selectors."""
