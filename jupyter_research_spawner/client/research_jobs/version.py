"""The version of this client and of the product.  A test compares it with the version in setup.cfg."""

VERSION = "0.1.0"
