"""The fault matrix: what an upstream can do wrong, through an alias of one and of two targets.

`rows` says what is expected, `observed` asks a live facade, `python -m tests.faults` prints both.
"""
