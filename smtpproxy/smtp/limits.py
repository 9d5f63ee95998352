"""Every size and time that RFC 5321 names, what others chose, and what this proxy holds to.

Source: RFC 5321 s4.5.3.1 (sizes) and s4.5.3.2 (timeouts). Sizes are octets, times are seconds.
"""

from __future__ import annotations

from typing import Final

# Sizes --------------------------------------------------------------------------------------------------------------

LOCAL_PART_OCTETS: Final = 256
"""RFC: 64 (s4.5.3.1.1), to be exceeded where possible. Postfix has no limit but that of the line.
Bounce addresses that carry another address (VERP, SRS) pass 64 every day. The configured limit is the session's."""

DOMAIN_OCTETS: Final = 255
"""RFC: 255 (s4.5.3.1.2), which is also what DNS can hold, so nobody chose another."""

PATH_OCTETS: Final = 1024
"""RFC: 256 with punctuation (s4.5.3.1.3). Postfix: the line's limit. A source route may stand before the mailbox; the
address alone is bounded by the two limits above and by the configured one."""

COMMAND_LINE_OCTETS: Final = 2048
"""RFC: 512 with CRLF (s4.5.3.1.4), raised by each extension (SIZE by 26, BODY by 17, SMTPUTF8 by 10, DSN by more).
Postfix: 2048 (`line_length_limit`). Exim: 16384, for AUTH, which has a limit of its own here."""

AUTH_LINE_OCTETS: Final = 12_288
"""RFC 4954 s4: 12288 with CRLF for a response. Postfix: 12288 (`smtpd_sasl_response_limit`). Taken for AUTH too, whose
initial response is a token of some thousand octets where OAuth is spoken."""

DISCARDED_LINE_OCTETS: Final = 65_536
"""RFC: none. An over-long command line is dropped unbuffered and answered at its end; a line of 32 times the limit is
no command any more, and whoever sends it would not understand a reply."""

REPLY_LINE_OCTETS: Final = 2048
"""RFC: 512 with code and CRLF (s4.5.3.1.5). Postfix's client takes 2048; some servers put long URLs in a refusal."""

REPLY_LINES: Final = 256
"""RFC: none. The longest honest replies are EHLO's (some 30 lines) and HELP's."""

REPLY_OCTETS: Final = 65_536
"""RFC: none. Bounds what one multi-line reply may hold in memory, well above 30 full lines of 2048."""

EHLO_NAME_OCTETS: Final = 255
"""RFC: that of a domain (s4.5.3.1.2)."""

PARAMETERS: Final = 32
"""RFC: none. Six parameters of MAIL and four of RCPT are registered for what this proxy handles; the line bounds the
octets, this bounds the objects made of them."""

ENVID_OCTETS: Final = 100
"""RFC 3461 s4.4: at most 100 characters."""

ORCPT_OCTETS: Final = 500
"""RFC 3461 s4.2: at most 500 characters."""

HEADER_OCTETS: Final = 262_144
"""RFC: none. The whole header block where a rule looks at it or edits it. Postfix: 102400 for each field
(`header_size_limit`), the rest of which it drops; Exim: 1 MiB for all (`header_maxsize`), refused beyond; Sendmail:
32768 for all. A thousand recipients in To need some 60,000; what is longer would have to be judged unseen."""

HEADER_LINE_OCTETS: Final = 78
"""RFC 5322 s2.1.1: a line should have no more, without CRLF. Used for lines that are made here."""

# Times --------------------------------------------------------------------------------------------------------------

GREETING_TIMEOUT_S: Final = 300
"""RFC: 5 minutes for the initial 220 (s4.5.3.2.1). Postfix: 300."""

MAIL_TIMEOUT_S: Final = 300
"""RFC: 5 minutes (s4.5.3.2.2). Postfix: 300. Used for EHLO, RSET and the like too."""

RCPT_TIMEOUT_S: Final = 300
"""RFC: 5 minutes (s4.5.3.2.3). Postfix: 300; servers verify recipients by calling out."""

DATA_INITIATION_TIMEOUT_S: Final = 120
"""RFC: 2 minutes from DATA to 354 (s4.5.3.2.4). Postfix: 120."""

DATA_BLOCK_TIMEOUT_S: Final = 180
"""RFC: 3 minutes for each chunk of content (s4.5.3.2.5). Postfix: 180."""

DATA_TERMINATION_TIMEOUT_S: Final = 600
"""RFC: 10 minutes from the final dot to its reply (s4.5.3.2.6). Postfix: 600; a shorter one doubles mail (RFC 1047)."""

SERVER_TIMEOUT_S: Final = 300
"""RFC: a server waits at least 5 minutes for the next command (s4.5.3.2.7). Postfix: 300, Exim: 300."""
