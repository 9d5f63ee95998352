"""What a balancer says of a connection before its first octet: the PROXY protocol, versions 1 and 2."""
