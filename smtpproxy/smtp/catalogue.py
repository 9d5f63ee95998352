"""Every reply that the proxy makes itself.

Source: RFC 5321 s4.2.3 (codes); RFC 3463 s3 (enhanced codes); RFC 3207 s4 (STARTTLS); RFC 1870 s4 (size);
RFC 4954 s4 and s6 (AUTH); RFC 8689 s4.2.1 (REQUIRETLS); RFC 3030 s2, s3 (BDAT, BINARYMIME).

One short sentence for any sender, never a name from inside. The text of a 421 does not begin with a domain, although
RFC 5321 shows one: the codes are what programs read.
"""

from __future__ import annotations

from typing import Final

from smtpproxy.smtp.replies import Reply

# Positive and intermediate ------------------------------------------------------------------------------------------

OK: Final = Reply.own(250, (0, 0), "Ok")
GO_AHEAD_TLS: Final = Reply.own(220, (0, 0), "Ready to start TLS")
BYE: Final = Reply.own(221, (0, 0), "Bye")
START_CONTENT: Final = Reply.own(354, None, "End data with <CR><LF>.<CR><LF>")

# The line and the command -------------------------------------------------------------------------------------------

LINE_TOO_LONG: Final = Reply.own(500, (5, 2), "Line too long")
BAD_LINE: Final = Reply.own(500, (5, 2), "Line with a forbidden control character")
UNKNOWN_COMMAND: Final = Reply.own(500, (5, 1), "Command not recognized")
NOT_IMPLEMENTED: Final = Reply.own(502, (5, 1), "Command not implemented")
OUT_OF_ORDER: Final = Reply.own(503, (5, 1), "Bad sequence of commands")
NO_VALID_RECIPIENTS: Final = Reply.own(503, (5, 1), "No valid recipients")
SYNTAX: Final = Reply.own(501, (5, 4), "Syntax error in command arguments")
BAD_PARAMETER: Final = Reply.own(501, (5, 4), "Unsupported or malformed parameter")
OTHER_PROTOCOL: Final = Reply.own(554, (5, 1), "This is an SMTP service")
EARLY_TALK: Final = Reply.own(554, (5, 1), "Command sent before the greeting")
TOO_MANY_ERRORS: Final = Reply.own(421, (7, 0), "Too many errors, closing connection")

# AUTH ---------------------------------------------------------------------------------------------------------------

AUTH_IN_CLEAR: Final = Reply.own(538, (7, 11), "Encryption required for requested authentication mechanism")
AUTH_MECHANISM: Final = Reply.own(504, (5, 4), "Authentication mechanism not offered")
AUTH_SYNTAX: Final = Reply.own(501, (5, 2), "Cannot decode the response")

# STARTTLS on the client leg -----------------------------------------------------------------------------------------

MUST_STARTTLS: Final = Reply.own(530, (7, 0), "Must issue a STARTTLS command first")
STARTTLS_NOT_OFFERED: Final = Reply.own(502, (5, 1), "STARTTLS not offered")
SECOND_STARTTLS: Final = Reply.own(503, (5, 1), "TLS already active")
TLS_NOT_READY: Final = Reply.own(454, (7, 0), "TLS not available due to temporary reason")
PIPELINED_STARTTLS: Final = Reply.own(554, (5, 1), "Data sent behind STARTTLS, closing connection")

# TLS on the upstream leg --------------------------------------------------------------------------------------------

BEHIND_UPSTREAM_STARTTLS: Final = Reply.own(421, (7, 0), "Secure connection to the server failed, closing connection")
TLS_NOT_OFFERED_REJECT: Final = Reply.own(
    550, (7, 4), "Encryption required, but the receiving server does not offer it; ask its postmaster to enable TLS"
)
TLS_NOT_OFFERED_TEMPFAIL: Final = Reply.own(
    450, (7, 4), "Encryption required, but the receiving server does not offer it now"
)
TLS_REFUSED_REJECT: Final = Reply.own(
    550, (7, 5), "Secure connection to the receiving server failed; ask its postmaster to check its TLS"
)
TLS_REFUSED_TEMPFAIL: Final = Reply.own(
    450, (7, 5), "Secure connection to the receiving server failed, try again later"
)
SENDER_NOT_VERIFIED: Final = Reply.own(
    550, (7, 1), "A verified client certificate of the sender's domain is required; ask your postmaster for one"
)
LOOK_UP_FAILED: Final = Reply.own(451, (4, 3), "The recipient's domain cannot be looked up now, try again later")
SESSION_TLS_REFUSED: Final = Reply.own(421, (7, 5), "Secure connection to the server failed, closing connection")

# The envelope -------------------------------------------------------------------------------------------------------

BAD_SENDER: Final = Reply.own(501, (1, 7), "Bad sender address")
BAD_RECIPIENT: Final = Reply.own(553, (1, 3), "Bad recipient address")
TOO_MANY_RECIPIENTS: Final = Reply.own(452, (5, 3), "Too many recipients")
REQUIRETLS_NOT_KEPT: Final = Reply.own(550, (7, 30), "REQUIRETLS support required")

# The content --------------------------------------------------------------------------------------------------------

MESSAGE_TOO_BIG: Final = Reply.own(552, (3, 4), "Message size exceeds limit")
BARE_NEWLINE: Final = Reply.own(550, (5, 2), "Message contains a line feed without carriage return")
BINARY_NEEDS_BDAT: Final = Reply.own(503, (5, 1), "BINARYMIME content must be sent with BDAT")
CHUNK_TAKEN: Final = Reply.own(250, (0, 0), "Chunk received")
HEADERS_TOO_BIG: Final = Reply.own(552, (3, 4), "Message header size exceeds limit")
HEADERS_UNCLEAR: Final = Reply.own(550, (5, 2), "Message header contains a lone carriage return, line feed or NUL")
RULE_DENIED: Final = Reply.own(554, (7, 1), "Message refused")
STORE_FAILED: Final = Reply.own(451, (3, 0), "Message cannot be stored now, try again later")
BARE_CR: Final = Reply.own(550, (5, 2), "Message contains a carriage return without line feed")

# Upstream and the session -------------------------------------------------------------------------------------------

UPSTREAM_UNREACHABLE: Final = Reply.own(421, (4, 1), "Server not reachable, closing connection")
UPSTREAM_GONE: Final = Reply.own(421, (4, 2), "Connection to the server lost, closing connection")
UPSTREAM_LOST: Final = Reply.own(451, (4, 2), "Connection to the server lost")
UPSTREAM_BROKE: Final = Reply.own(451, (5, 0), "Protocol error of the server")
UPSTREAM_BROKE_CLOSING: Final = Reply.own(421, (5, 0), "Protocol error of the server, closing connection")
IDLE: Final = Reply.own(421, (4, 2), "Timeout, closing connection")
TOO_OLD: Final = Reply.own(421, (4, 2), "Session lasted too long, closing connection")
SHUTTING_DOWN: Final = Reply.own(421, (3, 2), "Service shutting down, closing connection")
CLIENT_NOT_TOLD: Final = Reply.own(421, (3, 5), "System incorrectly configured, closing connection")
DENIED: Final = Reply.own(554, (7, 1), "Connection refused")
LOOP: Final = Reply.own(421, (4, 6), "Routing loop detected, closing connection")
TOO_MANY_SESSIONS: Final = Reply.own(421, (7, 0), "Too many connections, try again later")
INTERNAL: Final = Reply.own(421, (3, 0), "Internal error, closing connection")
