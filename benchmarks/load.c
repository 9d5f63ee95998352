/* An SMTP client that keeps a number of sessions going, each with one message, for a while.
 *
 *   load --mode clear|starttls|implicit --port PORT [--host ADDRESS] [--at-once N] [--seconds S]
 *        [--size OCTETS] [--warm-up N]
 *
 * A new session begins as soon as one has ended; no TLS session is ever resumed. The first N sessions to end warm the
 * other side up and are not counted. One line of JSON tells what was seen; latencies run from connect() to the reply
 * to QUIT, in milliseconds. */
#define _GNU_SOURCE
#include "stream.h"
#include <signal.h>
#include <time.h>

enum mode { CLEAR, STARTTLS, IMPLICIT };
enum state { CONNECT, HANDSHAKE, GREETING, HELLO, UPGRADE, SECURE_HELLO, MAIL, RCPT, DATA, CONTENT, QUIT, ENDED };

struct session {
    struct stream stream;
    enum state state;
    double began_s;
    const char *output; /* what has still to leave */
    size_t output_length;
    char line[1024];
    size_t line_length;
};

static enum mode mode = CLEAR;
static const char *host = "127.0.0.1";
static int port, at_once = 1;
static size_t size_octets = 4096;
static double seconds = 1;
static long warm_up;

static SSL_CTX *context;
static char *content;
static size_t content_length;
static char buffer[1 << 16];

static double *latencies_ms;
static long ended, counted, room, errors, alive;
static double counting_since_s, stop_at_s;
static char first_error[160], cipher[80];

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void say(struct session *session, const char *octets, size_t length, enum state next)
{
    session->output = octets;
    session->output_length = length;
    session->state = next;
}

static void command(struct session *session, const char *line, enum state next)
{
    say(session, line, strlen(line), next);
}

static void connect_out(struct session *session)
{
    struct sockaddr_in address = endpoint(host, port);
    memset(session, 0, sizeof *session);
    session->stream.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    session->stream.waits_to_write = 1;
    session->began_s = now_s();
    alive++;
    set_no_delay(session->stream.fd);
    if (connect(session->stream.fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        die("connect");
    watch(&session->stream, session, EPOLL_CTL_ADD);
}

static void count(const struct session *session)
{
    if (++ended == warm_up)
        counting_since_s = now_s();
    if (ended <= warm_up)
        return;
    if (counted == room) {
        room = room ? 2 * room : 4096;
        if (!(latencies_ms = realloc(latencies_ms, (size_t)room * sizeof *latencies_ms)))
            die("realloc");
    }
    latencies_ms[counted++] = (now_s() - session->began_s) * 1e3;
}

static void end(struct session *session)
{
    stream_close(&session->stream);
    session->state = ENDED;
    alive--;
    if (now_s() < stop_at_s && errors < 100)
        connect_out(session);
}

static void fail(struct session *session, const char *why)
{
    if (!errors++) {
        snprintf(first_error, sizeof first_error, "%s in state %d: %.80s", why, session->state, session->line);
        for (char *at = first_error; *at; at++)
            if (*at < ' ' || *at == '"' || *at == '\\')
                *at = ' '; /* it stands in JSON */
    }
    end(session);
}

static void begin_tls(struct session *session)
{
    stream_begin_tls(&session->stream, context);
    SSL_set_tlsext_host_name(session->stream.ssl, "sink.test");
    SSL_set_connect_state(session->stream.ssl);
    session->state = HANDSHAKE;
}

static int expected_code(enum state state)
{
    return state == GREETING || state == UPGRADE ? 220 : state == DATA ? 354 : state == QUIT ? 221 : 250;
}

/* The dialogue: what to say when the reply to the last command has come. */
static void go_on(struct session *session)
{
    switch (session->state) {
    case GREETING:
        command(session, "EHLO client.test\r\n", HELLO);
        break;
    case HELLO:
        if (mode == STARTTLS)
            command(session, "STARTTLS\r\n", UPGRADE);
        else
            command(session, "MAIL FROM:<a@client.test>\r\n", MAIL);
        break;
    case UPGRADE:
        begin_tls(session);
        break;
    case SECURE_HELLO:
        command(session, "MAIL FROM:<a@client.test>\r\n", MAIL);
        break;
    case MAIL:
        command(session, "RCPT TO:<b@sink.test>\r\n", RCPT);
        break;
    case RCPT:
        command(session, "DATA\r\n", DATA);
        break;
    case DATA:
        say(session, content, content_length, CONTENT);
        break;
    case CONTENT:
        command(session, "QUIT\r\n", QUIT);
        break;
    default: /* QUIT: the session is over */
        session->state = ENDED;
    }
}

/* Take the octets of a reply; true once its last line is there. */
static int reply_ends(struct session *session, const char *octets, size_t length)
{
    while (length) {
        const char *newline = memchr(octets, '\n', length);
        size_t used = newline ? (size_t)(newline - octets) + 1 : length;
        if (session->line_length + used >= sizeof session->line)
            session->line_length = 0;
        if (used >= sizeof session->line)
            return 1; /* no reply of ours; its code will not fit */
        memcpy(session->line + session->line_length, octets, used);
        session->line_length += used;
        octets += used;
        length -= used;
        if (newline) {
            session->line[session->line_length] = '\0';
            session->line_length = 0;
            if (session->line[3] != '-')
                return 1; /* nothing is ever asked ahead, so nothing follows */
        }
    }
    return 0;
}

static enum io connected(struct session *session)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(session->stream.fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error)
        return IO_CLOSED;
    if (mode == IMPLICIT)
        begin_tls(session);
    else
        session->state = GREETING;
    return IO_DONE;
}

static enum io shaken(struct session *session)
{
    enum io outcome = stream_handshake(&session->stream);
    if (outcome != IO_DONE)
        return outcome;
    if (!*cipher)
        snprintf(cipher, sizeof cipher, "%s %s", SSL_get_version(session->stream.ssl), SSL_get_cipher_name(session->stream.ssl));
    if (mode == IMPLICIT)
        session->state = GREETING;
    else
        command(session, "EHLO client.test\r\n", SECURE_HELLO);
    return IO_DONE;
}

static enum io write_out(struct session *session)
{
    while (session->output_length) {
        size_t written = 0;
        size_t most = session->output_length < sizeof buffer ? session->output_length : sizeof buffer;
        enum io outcome = stream_write(&session->stream, session->output, most, &written);
        if (outcome != IO_DONE)
            return outcome;
        session->output += written;
        session->output_length -= written;
    }
    return IO_DONE;
}

static enum io read_reply(struct session *session)
{
    size_t length = 0;
    enum io outcome = stream_read(&session->stream, buffer, sizeof buffer, &length);
    if (outcome != IO_DONE || !reply_ends(session, buffer, length))
        return outcome;
    if (atoi(session->line) != expected_code(session->state))
        return IO_CLOSED;
    go_on(session);
    return IO_DONE;
}

static enum io step(struct session *session)
{
    enum io outcome;
    if (session->state == CONNECT)
        return connected(session);
    if (session->state == HANDSHAKE)
        return shaken(session);
    if ((outcome = write_out(session)) != IO_DONE)
        return outcome;
    return read_reply(session);
}

static void serve(struct session *session)
{
    enum io outcome;
    do
        outcome = step(session);
    while (outcome == IO_DONE && session->state != ENDED);
    if (session->state == ENDED) {
        count(session);
        end(session);
    } else if (outcome == IO_CLOSED) {
        fail(session, "closed or refused");
    } else {
        want_write(&session->stream, session, outcome == IO_WAIT_WRITE);
    }
}

static void make_content(void)
{
    static const char head[] = "From: a@client.test\r\nTo: b@sink.test\r\nSubject: load\r\n\r\n";
    static const char tail[] = "\r\n.\r\n";
    content_length = size_octets > sizeof head + 80 ? size_octets : sizeof head + 80;
    content = malloc(content_length + sizeof tail);
    if (!content)
        die("malloc");
    for (size_t at = 0; at < content_length; at++)
        content[at] = at % 78 == 76 ? '\r' : at % 78 == 77 ? '\n' : 'x';
    memcpy(content, head, sizeof head - 1);
    content[content_length - 1] = content[content_length - 2] = 'x'; /* no line ends in the middle of the tail */
    memcpy(content + content_length, tail, sizeof tail - 1);
    content_length += sizeof tail - 1;
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double percentile_ms(double share)
{
    return counted ? latencies_ms[(long)(share * (double)(counted - 1) + 0.5)] : 0;
}

static void report(double elapsed_s)
{
    if (counted)
        qsort(latencies_ms, (size_t)counted, sizeof *latencies_ms, ascending);
    printf("{\"sessions\": %ld, \"warm_up\": %ld, \"seconds\": %.4f, \"octets\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"errors\": %ld, \"first_error\": \"%s\", \"cipher\": \"%s\"}\n",
           counted, ended - counted, elapsed_s, content_length, percentile_ms(0.5), percentile_ms(0.99), errors, first_error, cipher);
}

static void read_options(int words_count, char **words)
{
    for (int at = 1; at + 1 < words_count; at += 2) {
        const char *option = words[at], *value = words[at + 1];
        if (!strcmp(option, "--mode"))
            mode = !strcmp(value, "implicit") ? IMPLICIT : !strcmp(value, "starttls") ? STARTTLS : CLEAR;
        else if (!strcmp(option, "--host"))
            host = value;
        else if (!strcmp(option, "--port"))
            port = atoi(value);
        else if (!strcmp(option, "--at-once"))
            at_once = atoi(value);
        else if (!strcmp(option, "--seconds"))
            seconds = atof(value);
        else if (!strcmp(option, "--size"))
            size_octets = (size_t)atol(value);
        else if (!strcmp(option, "--warm-up"))
            warm_up = atol(value);
        else
            die(option);
    }
}

int main(int words_count, char **words)
{
    read_options(words_count, words);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    context = new_context(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    make_content();
    struct session *sessions = calloc((size_t)at_once, sizeof *sessions);
    if (!sessions)
        die("calloc");
    counting_since_s = now_s();
    stop_at_s = counting_since_s + seconds;
    for (int at = 0; at < at_once; at++)
        connect_out(&sessions[at]);
    while (alive) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, 5000);
        if (ready == 0) {
            snprintf(first_error, sizeof first_error, "nothing happened for 5 s, %ld sessions open", alive);
            errors += alive;
            break;
        }
        for (int at = 0; at < ready; at++)
            if (((struct session *)events[at].data.ptr)->state != ENDED)
                serve(events[at].data.ptr);
    }
    report(now_s() - counting_since_s);
    return errors != 0;
}
