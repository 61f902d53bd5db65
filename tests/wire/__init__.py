"""Conversations between a client, a dialect and its upstream, one file each."""
