"""Recorded exchanges with OpenAI-shaped upstreams, replayed through the facade into the SDK."""
