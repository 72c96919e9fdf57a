"""The policy pack: what a careful reviewer would look for in what a preview would make (docs/policy.md)."""
