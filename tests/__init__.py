"""The tests; `python -m tests.ready` runs every check of the project in order."""
