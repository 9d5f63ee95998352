"""Listeners, and the driver that carries a session's actions out."""
