/* What a client says in a session and which replies it expects, written out once for all sessions. */
#ifndef SCRIPT_H
#define SCRIPT_H

#include <stddef.h>

enum mode { CLEAR, STARTTLS, IMPLICIT };

enum meaning {
    PLAIN_REPLY,
    READY,   /* the last EHLO: what is offered now counts, and a session that is to be held is held */
    UPGRADE, /* TLS begins */
    MESSAGE, /* one is delivered */
    LAST,    /* the session is over */
};

/* One reply, and what is sent before it is awaited: nothing where the octets left with an earlier step. */
struct step {
    const char *name;
    const char *octets;
    size_t length;
    int code;
    enum meaning meaning;
};

struct message {
    size_t size_octets;
    size_t chunk_octets; /* of a BDAT chunk; 0: by DATA */
    int pipelining;
};

struct script {
    struct step *steps;
    size_t count;
    size_t message_octets;
    struct message message;
};

/* Scripts of the same mode are alike up to and including READY. */
struct script write_script(enum mode mode, struct message message, long messages);

#endif
