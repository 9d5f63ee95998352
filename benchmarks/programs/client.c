#define _GNU_SOURCE
#include "client.h"
#include "tally.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { OFFERS_PIPELINING = 1, OFFERS_CHUNKING = 2 };

struct manner manner;

static SSL_CTX *context;
static char buffer[1 << 16];

/* Keep the latest ticket of a connection for the next one of the same client. */
static int keep_ticket(SSL *ssl, SSL_SESSION *ticket)
{
    struct client *client = SSL_get_app_data(ssl);
    SSL_SESSION_free(client->ticket);
    client->ticket = ticket;
    return 1;
}

void client_prepare(void)
{
    context = new_context(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    if (manner.resumes) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, keep_ticket);
    } else {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    }
}

void client_connect(struct client *client)
{
    struct sockaddr_in address = endpoint(manner.host, manner.port);
    *client = (struct client){
        .stream = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .waits_to_write = 1},
        .script = &manner.wanted,
        .step = manner.wanted.steps,
        .failure = "closed",
        .began_s = now_s(),
        .ticket = client->ticket,
        .sessions = client->sessions + 1,
    };
    if (client->stream.fd < 0)
        die("socket");
    set_no_delay(client->stream.fd);
    if (connect(client->stream.fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        die("connect");
    watch(&client->stream, client, EPOLL_CTL_ADD);
}

void client_close(struct client *client)
{
    stream_close(&client->stream);
    client->state = GONE;
}

static enum io refuse(struct client *client, const char *why)
{
    client->failure = why;
    return IO_CLOSED;
}

static void begin_tls(struct client *client)
{
    stream_begin_tls(&client->stream, context);
    SSL_set_app_data(client->stream.ssl, client);
    SSL_set_tlsext_host_name(client->stream.ssl, "sink.test");
    if (client->ticket)
        SSL_set_session(client->stream.ssl, client->ticket);
    SSL_set_connect_state(client->stream.ssl);
    client->state = SHAKING;
}

static enum io begin_step(struct client *client, const struct step *step)
{
    client->step = step;
    if (!step->length)
        return IO_DONE;
    if (client->output_length)
        return refuse(client, "answered too early");
    client->output = step->octets;
    client->output_length = step->length;
    return IO_DONE;
}

/* Take the plain script, which is the same up to here, if upstream lacks what is wanted and that is allowed. */
static enum io settle(struct client *client)
{
    const struct message *wanted = &manner.wanted.message;
    const char *missing = wanted->pipelining && !(client->offers & OFFERS_PIPELINING) ? "PIPELINING is not offered"
                          : wanted->chunk_octets && !(client->offers & OFFERS_CHUNKING) ? "CHUNKING is not offered"
                                                                                        : NULL;
    if (!missing)
        return IO_DONE;
    if (!manner.falls_back)
        return refuse(client, missing);
    client->step = manner.plain.steps + (client->step - client->script->steps);
    client->script = &manner.plain;
    return IO_DONE;
}

static void count_message(const struct client *client)
{
    tally.messages++;
    tally.pipelined += client->script->message.pipelining;
    tally.chunked += client->script->message.chunk_octets != 0;
}

static enum io answered(struct client *client)
{
    switch (client->step->meaning) {
    case UPGRADE:
        begin_tls(client);
        client->step++;
        return IO_DONE;
    case LAST:
        client->state = GONE;
        return IO_DONE;
    case READY:
        if (settle(client) != IO_DONE)
            return IO_CLOSED;
        if (manner.holds) {
            client->state = IDLE;
            return IO_DONE;
        }
        break;
    case MESSAGE:
        count_message(client);
        break;
    case PLAIN_REPLY:
        break;
    }
    return begin_step(client, client->step + 1);
}

static void note_offer(struct client *client)
{
    const char *keyword = client->line + 4;
    if (!strncasecmp(keyword, "PIPELINING", 10))
        client->offers |= OFFERS_PIPELINING;
    if (!strncasecmp(keyword, "CHUNKING", 8))
        client->offers |= OFFERS_CHUNKING;
}

static enum io take_line(struct client *client)
{
    if (client->line_length < 4 || atoi(client->line) != client->step->code)
        return refuse(client, "refused");
    if (client->step->meaning == READY)
        note_offer(client);
    return client->line[3] == '-' ? IO_DONE : answered(client);
}

static enum io take(struct client *client, const char *octets, size_t length)
{
    while (length && client->state == TALKING) {
        const char *newline = memchr(octets, '\n', length);
        size_t used = newline ? (size_t)(newline - octets) + 1 : length;
        if (client->line_length + used >= sizeof client->line)
            return refuse(client, "line too long");
        memcpy(client->line + client->line_length, octets, used);
        client->line_length += used;
        client->line[client->line_length] = '\0';
        octets += used;
        length -= used;
        if (newline && take_line(client) != IO_DONE)
            return IO_CLOSED;
        if (newline)
            client->line_length = 0;
    }
    return length ? refuse(client, "more than was asked") : IO_DONE;
}

static enum io connected(struct client *client)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(client->stream.fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error)
        return refuse(client, strerror(error));
    if (manner.mode == IMPLICIT)
        begin_tls(client);
    else
        client->state = TALKING;
    return IO_DONE;
}

static enum io shaken(struct client *client)
{
    enum io outcome = stream_handshake(&client->stream);
    if (outcome != IO_DONE) {
        client->failure = "handshake failed";
        return outcome;
    }
    SSL *ssl = client->stream.ssl;
    if (!*tally.cipher)
        snprintf(tally.cipher, sizeof tally.cipher, "%s %s", SSL_get_version(ssl), SSL_get_cipher_name(ssl));
    tally.resumed += SSL_session_reused(ssl);
    client->state = TALKING;
    client->failure = "closed";
    return begin_step(client, client->step);
}

static enum io write_out(struct client *client)
{
    while (client->output_length) {
        size_t written = 0;
        size_t most = client->output_length < sizeof buffer ? client->output_length : sizeof buffer;
        enum io outcome = stream_write(&client->stream, client->output, most, &written);
        if (outcome != IO_DONE)
            return outcome;
        client->output += written;
        client->output_length -= written;
    }
    return IO_DONE;
}

/* One turn; anything but IO_DONE says what to wait for. Replies are read while a group is still being written. */
static enum io turn(struct client *client)
{
    size_t length = 0;
    if (client->state == CONNECTING)
        return connected(client);
    if (client->state == SHAKING)
        return shaken(client);
    enum io written = write_out(client);
    if (written == IO_CLOSED)
        return IO_CLOSED;
    enum io outcome = stream_read(&client->stream, buffer, sizeof buffer, &length);
    if (outcome == IO_DONE)
        return take(client, buffer, length);
    return outcome == IO_WAIT_READ ? (written == IO_WAIT_WRITE ? IO_WAIT_WRITE : IO_WAIT_READ) : outcome;
}

enum progress client_serve(struct client *client)
{
    enum io outcome;
    if (client->state == GONE)
        return WAITING; /* an event fetched before its end */
    do
        outcome = turn(client);
    while (outcome == IO_DONE && client->state != GONE && client->state != IDLE);
    if (client->state == GONE)
        return ENDED;
    if (client->state == IDLE)
        return HELD;
    if (outcome == IO_CLOSED)
        return FAILED;
    want_write(&client->stream, client, outcome == IO_WAIT_WRITE);
    return WAITING;
}

int client_is_open(struct client *client)
{
    size_t length = 0;
    return stream_read(&client->stream, buffer, sizeof buffer, &length) == IO_WAIT_READ;
}

enum progress client_release(struct client *client)
{
    client->state = TALKING;
    begin_step(client, &client->script->steps[client->script->count - 1]);
    return client_serve(client);
}
