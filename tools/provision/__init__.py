"""How the tool chain is made: by toolchain.py, with the standard library alone: there is no Python environment yet."""
