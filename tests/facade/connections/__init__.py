"""What every implementation of the port to upstreams keeps, shown against bytes by hand."""
