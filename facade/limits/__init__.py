"""What a caller, a model, an upstream and an address may use: limits, and stores that hold them."""
