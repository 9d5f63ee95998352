"""The command line, and later the console: how an administrator sees and steers the gateway."""
