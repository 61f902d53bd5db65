"""Tests of the application and its traffic policy."""
