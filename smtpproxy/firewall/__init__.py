"""The nftables table, rules and routes that the policies want: made, compared, applied and removed."""
