/* One SMTP session as a client, that follows a script. */
#ifndef CLIENT_H
#define CLIENT_H

#include "script.h"
#include "stream.h"

enum progress { WAITING, HELD, ENDED, FAILED };

struct client {
    struct stream stream;
    enum { CONNECTING, SHAKING, TALKING, IDLE, GONE } state;
    const struct script *script;
    const struct step *step; /* whose reply is awaited */
    const char *output;      /* what has still to leave */
    size_t output_length;
    char line[1024];
    size_t line_length;
    unsigned offers;
    const char *failure;
    double began_s;
    SSL_SESSION *ticket; /* of the connection before */
    long sessions;
};

/* How every client of the program goes about it. */
struct manner {
    enum mode mode;
    const char *host;
    int port;
    int resumes, holds, falls_back;
    struct script wanted, plain; /* plain: neither PIPELINING nor CHUNKING, where upstream lacks them */
};

extern struct manner manner;

void client_prepare(void);
void client_connect(struct client *client);
enum progress client_serve(struct client *client);
int client_is_open(struct client *client);           /* whether one that is held still is */
enum progress client_release(struct client *client); /* let one that is held go on with QUIT */
void client_close(struct client *client);

#endif
