"""Whether a deployment serves, as seen from outside: `make doctor`."""
