"""The conversation: events in, actions out, no socket."""
