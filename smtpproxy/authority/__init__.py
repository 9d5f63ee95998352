"""Load, create and mint certificates; the only user of private keys."""
