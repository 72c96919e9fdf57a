"""The tool chain and what is typed around the program."""
