"""Bayesian variable selection: the example application that `python -m logtrick` runs.

It is part of the package, so that the command works wherever the package is installed. It stands on top of the library:
nothing imports it but `logtrick.__main__`, and it uses public names only.
"""
