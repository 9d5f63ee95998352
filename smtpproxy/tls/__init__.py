"""What TLS connections are made of, as plain values; never a handshake."""
