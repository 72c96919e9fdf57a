"""Pulumi component resources: they make the plan exist, and decide nothing."""
