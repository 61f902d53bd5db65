"""Tests of the pure half: dialects, framing, errors."""
