"""The control socket: how administrators reach the running gateway."""
