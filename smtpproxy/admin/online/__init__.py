"""What commands ask of the network: blocking, each question within one deadline."""
