"""What a running deployment looks like now: `make status`."""
