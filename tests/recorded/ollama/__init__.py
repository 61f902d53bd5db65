"""Recorded exchanges with a live Ollama, replayed through the facade into the official SDK."""
