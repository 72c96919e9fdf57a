"""How the tool chain is made: by toolchain.py, before there is any Python environment, so with the standard library alone."""
