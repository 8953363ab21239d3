"""One background run per module docstring of Python's standard library; start it again after a kill and it goes on."""
