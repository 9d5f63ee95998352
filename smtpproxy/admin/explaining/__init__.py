"""What the gateway would do with a message, and why."""
