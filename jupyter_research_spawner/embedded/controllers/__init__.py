"""The controllers of the embedded cluster: Jobs, and the scheduling of pods."""
