"""Whether a deployment serves, as seen from outside, and whether AWS would let it grow: `make doctor`."""
