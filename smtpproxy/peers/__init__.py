"""What is known of a destination."""
