"""Tests of the limits: one suite over both stores, and what each has of its own."""
