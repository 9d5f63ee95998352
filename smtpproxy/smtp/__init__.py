"""Turns bytes into commands, replies and content, and back; knows the grammar, not the conversation."""
