"""The version of the product that this client came with; setup.cfg says the same, and a test compares."""

VERSION = "0.1.0.dev0"
