/* An SMTP server that takes every message and keeps none: the cheapest upstream that a proxy can be measured against.
 *
 *   sink --clear PORT --starttls PORT --implicit PORT --polite PORT --certificate FILE --key FILE
 *
 * Each port is optional. A polite port speaks implicit TLS too, but never closes first: sslsplit 0.5.5 ends its whole
 * process on some sessions that the server closes. */
#define _GNU_SOURCE
#include "stream.h"
#include <signal.h>

enum kind { CLEAR, STARTTLS, IMPLICIT, POLITE };
enum state { HANDSHAKE, COMMANDS, CONTENT };

struct listener {
    int is_listener; /* tells the two owners of a poll event apart; first in both */
    int fd;
    enum kind kind;
};

struct session {
    int is_listener;
    struct stream stream;
    enum kind kind;
    enum state state;
    int ends;        /* close once the replies have left */
    int upgrades;    /* begin TLS once the replies have left */
    char line[1024];
    size_t line_length;
    char last[4];    /* of the content so far, where the end of data may be cut in two */
    char replies[1024];
    size_t replies_length, replies_sent;
};

static SSL_CTX *context;
static char buffer[1 << 16];

static void say(struct session *session, const char *reply)
{
    size_t length = strlen(reply);
    if (session->replies_length + length > sizeof session->replies) {
        session->ends = 1; /* a client that pipelines this much is none of ours */
        return;
    }
    memcpy(session->replies + session->replies_length, reply, length);
    session->replies_length += length;
}

static void end(struct session *session)
{
    stream_close(&session->stream);
    free(session);
}

static int verb_is(const struct session *session, const char *verb)
{
    return !strncasecmp(session->line, verb, strlen(verb));
}

static void answer(struct session *session)
{
    int may_upgrade = session->kind == STARTTLS && !session->stream.ssl;
    if (verb_is(session, "EHLO")) {
        say(session, "250-sink.test\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-PIPELINING\r\n");
        if (may_upgrade)
            say(session, "250-STARTTLS\r\n");
        say(session, "250 ENHANCEDSTATUSCODES\r\n");
    } else if (verb_is(session, "MAIL")) {
        say(session, "250 2.1.0 Ok\r\n");
    } else if (verb_is(session, "RCPT")) {
        say(session, "250 2.1.5 Ok\r\n");
    } else if (verb_is(session, "DATA")) {
        say(session, "354 Go ahead\r\n");
        session->state = CONTENT;
        memcpy(session->last, "\0\0\r\n", 4);
    } else if (verb_is(session, "STARTTLS") && may_upgrade) {
        say(session, "220 2.0.0 Ready\r\n");
        session->upgrades = 1;
    } else if (verb_is(session, "QUIT")) {
        say(session, "221 2.0.0 Bye\r\n");
        session->ends = session->kind != POLITE;
    } else if (verb_is(session, "RSET") || verb_is(session, "NOOP") || verb_is(session, "HELO")) {
        say(session, "250 2.0.0 Ok\r\n");
    } else {
        say(session, "502 5.5.1 Not here\r\n");
    }
}

/* Return how many octets belong to the content, its end included. */
static size_t take_content(struct session *session, const char *octets, size_t length)
{
    char seam[8];
    size_t head = length < 4 ? length : 4;
    memcpy(seam, session->last, 4);
    memcpy(seam + 4, octets, head);
    const char *found = memmem(seam, 4 + head, "\r\n.\r\n", 5);
    size_t used = found ? (size_t)(found - seam) + 5 - 4 : 0;
    if (!found && (found = memmem(octets, length, "\r\n.\r\n", 5)))
        used = (size_t)(found - octets) + 5;
    if (found) {
        say(session, "250 2.0.0 Ok: thrown away\r\n");
        session->state = COMMANDS;
        return used;
    }
    if (length >= 4)
        memcpy(session->last, octets + length - 4, 4);
    else
        memcpy(session->last, seam + head, 4);
    return length;
}

static size_t take_line(struct session *session, const char *octets, size_t length)
{
    const char *newline = memchr(octets, '\n', length);
    size_t used = newline ? (size_t)(newline - octets) + 1 : length;
    if (session->line_length + used >= sizeof session->line) {
        session->ends = 1;
        return length;
    }
    memcpy(session->line + session->line_length, octets, used);
    session->line_length += used;
    if (newline) {
        session->line[session->line_length] = '\0';
        session->line_length = 0;
        answer(session);
    }
    return used;
}

static void take(struct session *session, const char *octets, size_t length)
{
    while (length && !session->ends && !session->upgrades) {
        size_t used = session->state == CONTENT ? take_content(session, octets, length) : take_line(session, octets, length);
        octets += used;
        length -= used;
    }
}

static enum io flush(struct session *session)
{
    while (session->replies_sent < session->replies_length) {
        size_t count = 0;
        enum io outcome = stream_write(&session->stream, session->replies + session->replies_sent,
                                       session->replies_length - session->replies_sent, &count);
        if (outcome != IO_DONE)
            return outcome;
        session->replies_sent += count;
    }
    session->replies_sent = session->replies_length = 0;
    return IO_DONE;
}

static void begin_tls(struct session *session)
{
    session->upgrades = 0;
    stream_begin_tls(&session->stream, context);
    SSL_set_accept_state(session->stream.ssl);
    session->state = HANDSHAKE;
}

/* One turn; anything but IO_DONE says what to wait for. */
static enum io step(struct session *session)
{
    size_t length = 0;
    enum io outcome;
    if (session->state == HANDSHAKE) {
        if ((outcome = stream_handshake(&session->stream)) != IO_DONE)
            return outcome;
        session->state = COMMANDS;
        if (session->kind != STARTTLS)
            say(session, "220 sink.test ESMTP\r\n");
    }
    if ((outcome = flush(session)) != IO_DONE)
        return outcome;
    if (session->ends)
        return IO_CLOSED;
    if (session->upgrades) {
        begin_tls(session);
        return IO_WAIT_READ;
    }
    if ((outcome = stream_read(&session->stream, buffer, sizeof buffer, &length)) != IO_DONE)
        return outcome;
    take(session, buffer, length);
    return IO_DONE;
}

static void serve(struct session *session)
{
    enum io outcome;
    do
        outcome = step(session);
    while (outcome == IO_DONE);
    if (outcome == IO_CLOSED)
        end(session);
    else
        want_write(&session->stream, session, outcome == IO_WAIT_WRITE);
}

static void take_connection(const struct listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return;
    set_no_delay(fd);
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        die("calloc");
    session->stream.fd = fd;
    session->kind = listener->kind;
    session->state = COMMANDS;
    watch(&session->stream, session, EPOLL_CTL_ADD);
    if (listener->kind == IMPLICIT || listener->kind == POLITE)
        begin_tls(session);
    else
        say(session, "220 sink.test ESMTP\r\n");
    serve(session);
}

static void listen_on(int port, enum kind kind)
{
    struct listener *listener = calloc(1, sizeof *listener);
    struct sockaddr_in address = endpoint("127.0.0.1", port);
    int on = 1;
    if (!listener)
        die("calloc");
    *listener = (struct listener){.is_listener = 1, .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .kind = kind};
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener->fd, (struct sockaddr *)&address, sizeof address) || listen(listener->fd, 4096))
        die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener->fd, &event))
        die("epoll_ctl");
}

static void load_certificate(const char *certificate, const char *key)
{
    context = new_context(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 || SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        die(certificate);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_num_tickets(context, 1);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"sink", 4);
}

int main(int count, char **words)
{
    const char *certificate = NULL, *key = NULL;
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    for (int at = 1; at + 1 < count; at += 2) {
        const char *option = words[at], *value = words[at + 1];
        if (!strcmp(option, "--certificate"))
            certificate = value;
        else if (!strcmp(option, "--key"))
            key = value;
        else if (!strcmp(option, "--clear"))
            listen_on(atoi(value), CLEAR);
        else if (!strcmp(option, "--starttls"))
            listen_on(atoi(value), STARTTLS);
        else if (!strcmp(option, "--implicit"))
            listen_on(atoi(value), IMPLICIT);
        else if (!strcmp(option, "--polite"))
            listen_on(atoi(value), POLITE);
        else
            die(option);
    }
    if (certificate && key)
        load_certificate(certificate, key);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, -1);
        for (int at = 0; at < ready; at++) {
            int is_listener = *(int *)events[at].data.ptr;
            if (is_listener)
                take_connection(events[at].data.ptr);
            else
                serve(events[at].data.ptr);
        }
    }
}
