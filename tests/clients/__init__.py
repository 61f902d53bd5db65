"""The official SDKs, in Python and in Node, drive a running facade over real sockets."""
