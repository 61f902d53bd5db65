"""Behaviour through the front door: a live facade before the fake upstream."""
