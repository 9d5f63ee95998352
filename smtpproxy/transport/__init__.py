"""TCP and TLS under the session: connections, handshakes, contexts and the verification of peers."""
