"""Recorded traffic of Ollama and of clouds, replayed through the facade into the official SDK."""
