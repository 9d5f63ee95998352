#define _GNU_SOURCE
#include "server.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

struct counts counts;

static SSL_CTX *context;
static char offered[1024];
static char buffer[1 << 16];

void server_prepare(const char *offers, SSL_CTX *tls)
{
    char words[512];
    size_t length = (size_t)snprintf(offered, sizeof offered, "250-sink.test\r\n");
    snprintf(words, sizeof words, "%s", offers);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
        length += (size_t)snprintf(offered + length, sizeof offered - length, "250-%s%s\r\n", word,
                                   strcmp(word, "SIZE") ? "" : " 104857600");
    context = tls;
}

static void say(struct server *server, const char *reply)
{
    size_t length = strlen(reply);
    if (server->replies_length + length > sizeof server->replies) {
        server->ends = 1; /* a client that pipelines this much is none of ours */
        return;
    }
    memcpy(server->replies + server->replies_length, reply, length);
    server->replies_length += length;
}

static int may_upgrade(const struct server *server)
{
    return server->kind == STARTTLS && !server->stream.ssl;
}

static void answer_hello(struct server *server)
{
    say(server, offered);
    if (may_upgrade(server))
        say(server, "250-STARTTLS\r\n");
    say(server, "250 ENHANCEDSTATUSCODES\r\n");
}

static void answer_mail(struct server *server)
{
    server->read_of_mail = server->reads;
    say(server, "250 2.1.0 Ok\r\n");
}

static void answer_recipient(struct server *server)
{
    counts.grouped += server->read_of_mail == server->reads;
    say(server, "250 2.1.5 Ok\r\n");
}

static void answer_data(struct server *server)
{
    say(server, "354 Go ahead\r\n");
    server->state = CONTENT;
    intake_begin(&server->intake);
}

static void take_message(struct server *server)
{
    counts.messages++;
    server->state = COMMANDS;
    say(server, "250 2.0.0 Ok: thrown away\r\n");
}

static void take_chunk(struct server *server)
{
    if (server->intake.chunk_is_last) {
        counts.chunked++;
        take_message(server);
        return;
    }
    server->state = COMMANDS;
    say(server, "250 2.0.0 Ok: chunk\r\n");
}

static void answer_chunk(struct server *server)
{
    if (!intake_begin_chunk(&server->intake, server->line + 5)) {
        say(server, "501 5.5.4 BDAT without a size\r\n");
        server->ends = 1;
        return;
    }
    server->state = CHUNK;
    if (!server->intake.chunk_left)
        take_chunk(server);
}

static void answer_starttls(struct server *server)
{
    server->upgrades = may_upgrade(server);
    say(server, server->upgrades ? "220 2.0.0 Ready\r\n" : "502 5.5.1 Not here\r\n");
}

static void answer_quit(struct server *server)
{
    say(server, "221 2.0.0 Bye\r\n");
    server->ends = server->kind != POLITE;
}

static void answer_ok(struct server *server)
{
    say(server, "250 2.0.0 Ok\r\n");
}

static const struct {
    const char *verb;
    void (*answer)(struct server *server);
} VERBS[] = {
    {"MAIL ", answer_mail},   {"RCPT ", answer_recipient},  {"DATA", answer_data}, {"BDAT ", answer_chunk},
    {"EHLO ", answer_hello},  {"STARTTLS", answer_starttls}, {"QUIT", answer_quit}, {"HELO ", answer_ok},
    {"RSET", answer_ok},      {"NOOP", answer_ok},
};

static void answer(struct server *server)
{
    for (size_t at = 0; at < sizeof VERBS / sizeof *VERBS; at++)
        if (!strncasecmp(server->line, VERBS[at].verb, strlen(VERBS[at].verb))) {
            VERBS[at].answer(server);
            return;
        }
    say(server, "502 5.5.1 Not here\r\n");
}

static size_t take_line(struct server *server, const char *octets, size_t length)
{
    const char *newline = memchr(octets, '\n', length);
    size_t used = newline ? (size_t)(newline - octets) + 1 : length;
    if (server->line_length + used >= sizeof server->line) {
        server->ends = 1;
        return length;
    }
    memcpy(server->line + server->line_length, octets, used);
    server->line_length += used;
    if (newline) {
        server->line[server->line_length] = '\0';
        server->line_length = 0;
        answer(server);
    }
    return used;
}

static size_t take_some(struct server *server, const char *octets, size_t length)
{
    int ends = 0;
    if (server->state == COMMANDS)
        return take_line(server, octets, length);
    if (server->state == CONTENT) {
        size_t used = intake_data(&server->intake, octets, length, &ends);
        counts.octets += (long)used;
        if (ends)
            take_message(server);
        return used;
    }
    size_t used = intake_chunk(&server->intake, octets, length, &ends);
    counts.octets += (long)used;
    if (ends)
        take_chunk(server);
    return used;
}

static void take(struct server *server, const char *octets, size_t length)
{
    server->reads++;
    while (length && !server->ends && !server->upgrades) {
        size_t used = take_some(server, octets, length);
        octets += used;
        length -= used;
    }
}

static enum io flush(struct server *server)
{
    while (server->replies_sent < server->replies_length) {
        size_t count = 0;
        enum io outcome = stream_write(&server->stream, server->replies + server->replies_sent,
                                       server->replies_length - server->replies_sent, &count);
        if (outcome != IO_DONE)
            return outcome;
        server->replies_sent += count;
    }
    server->replies_sent = server->replies_length = 0;
    return IO_DONE;
}

static void begin_tls(struct server *server)
{
    server->upgrades = 0;
    stream_begin_tls(&server->stream, context);
    SSL_set_accept_state(server->stream.ssl);
    server->state = SHAKING;
}

static enum io shake(struct server *server)
{
    enum io outcome = stream_handshake(&server->stream);
    if (outcome != IO_DONE)
        return outcome;
    counts.handshakes++;
    counts.resumed += SSL_session_reused(server->stream.ssl);
    server->state = COMMANDS;
    if (server->kind != STARTTLS)
        say(server, "220 sink.test ESMTP\r\n");
    return IO_DONE;
}

/* One turn; anything but IO_DONE says what to wait for. */
static enum io turn(struct server *server)
{
    size_t length = 0;
    enum io outcome;
    if (server->state == SHAKING && (outcome = shake(server)) != IO_DONE)
        return outcome;
    if ((outcome = flush(server)) != IO_DONE)
        return outcome;
    if (server->ends)
        return IO_CLOSED;
    if (server->upgrades) {
        begin_tls(server);
        return IO_WAIT_READ;
    }
    if ((outcome = stream_read(&server->stream, buffer, sizeof buffer, &length)) == IO_DONE)
        take(server, buffer, length);
    return outcome;
}

void server_serve(struct server *server)
{
    enum io outcome;
    do
        outcome = turn(server);
    while (outcome == IO_DONE);
    if (outcome == IO_CLOSED) {
        stream_close(&server->stream);
        free(server);
    } else {
        want_write(&server->stream, server, outcome == IO_WAIT_WRITE);
    }
}

void server_begin(int fd, enum kind kind)
{
    struct server *server = allocate(sizeof *server);
    counts.sessions++;
    set_no_delay(fd);
    server->stream.fd = fd;
    server->kind = kind;
    server->state = COMMANDS;
    watch(&server->stream, server, EPOLL_CTL_ADD);
    if (kind == IMPLICIT || kind == POLITE)
        begin_tls(server);
    else
        say(server, "220 sink.test ESMTP\r\n");
    server_serve(server);
}
