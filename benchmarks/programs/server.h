/* One SMTP session as a server that takes every message and keeps none. */
#ifndef SERVER_H
#define SERVER_H

#include "intake.h"
#include "stream.h"

enum kind { CLEAR, STARTTLS, IMPLICIT, POLITE };

struct server {
    int is_listener; /* 0; tells the two owners of a poll event apart, and so comes first */
    struct stream stream;
    enum kind kind;
    enum { SHAKING, COMMANDS, CONTENT, CHUNK } state;
    int ends;     /* close once the replies have left */
    int upgrades; /* begin TLS once the replies have left */
    struct intake intake;
    long reads, read_of_mail;
    char line[1024];
    size_t line_length;
    char replies[4096];
    size_t replies_length, replies_sent;
};

struct counts {
    long sessions, handshakes, resumed, messages, chunked;
    long grouped; /* RCPT commands that came in one piece with MAIL */
    long octets;
};

extern struct counts counts;

/* Say what is offered, as "PIPELINING SIZE ...", and what TLS is spoken with. */
void server_prepare(const char *offers, SSL_CTX *context);
void server_begin(int fd, enum kind kind);
void server_serve(struct server *server);

#endif
