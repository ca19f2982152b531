"""HTTP: one module for each kind of resource, each with a list ``ROUTES``."""
