"""What a session waits for, each wait with its bound.

Source: RFC 5321 s4.5.3.2 (timeouts); s4.5.3.2.7 asks a server to wait at least 5 minutes for a command.
"""

from __future__ import annotations

from smtpproxy.enums import IdentityEnum


class Timer(IdentityEnum):
    """One wait; setting a timer again moves its deadline."""

    AGE = "age"  # of the whole session
    CLIENT = "client"  # its next whole command, hello, handshake or block of content
    UPSTREAM = "upstream"  # its connection, handshake or next reply
    CLIENT_WRITE = "client-write"  # the client takes what was sent to it
    UPSTREAM_WRITE = "upstream-write"  # upstream takes what was sent to it
    VERDICT = "verdict"  # on content that was held, from the client's end of data to the reply
    LOOK_UP = "look-up"  # what is to be known of a recipient's domain
    KEEP_AWAKE = "keep-awake"  # upstream hears NOOP while content is held


HELLO_S = 10  # a ClientHello is one or two packets
HANDSHAKE_S = 30  # Postfix: smtpd_starttls_timeout 300 s; two round trips need no minutes
CONNECT_S = 30  # Postfix: smtp_connect_timeout 30 s
QUIT_S = 10  # nobody loses by our not waiting for a 221
WRITE_S = 180  # RFC 5321 s4.5.3.2.5: 3 minutes for each block of data
RATE_WINDOW_S = 300  # how often a content's progress is looked at; RFC 5321 s4.5.3.2.5 grants a block 3 minutes
RATE_OCTETS = 30_000  # a window's least progress: 100 octets a second, a tenth of what a 9600 baud line carries
FINAL_S = 585  # RFC 5321 s4.5.3.2.6: the client waits 600 s for the reply to its dot; ours must come before
LOOK_UP_S = 120  # three questions of 30 s; RFC 5321 s4.5.3.2.3: the client waits 5 minutes for the reply to its RCPT
KEEP_AWAKE_S = 60  # RFC 5321 s4.5.3.2.7 has a server wait 5 minutes, and many wait one or two
TUNNEL_REST_S = 10  # nothing passes for so long: a tunnel that is to end does so between messages, most likely
GRACE_S = 600  # a session over its age may end the message that it is at
