"""The bytes: HTTP to upstreams, and answers to clients. No policy, no dialect."""
