/* An SMTP client that keeps a number of sessions going for a while, or holds many of them open.
 *
 *   load --mode clear|starttls|implicit --port PORT [--host ADDRESS] [--at-once N] [--seconds S] [--warm-up N]
 *        [--messages N] [--size OCTETS] [--pipelining yes] [--chunks OCTETS] [--falls-back yes] [--resumes yes]
 *        [--hold N] [--pauses yes]
 *
 * A new session begins as soon as one has ended. --messages N are sent in each; --pipelining sends MAIL, RCPT and DATA as
 * one; --chunks sends the content by BDAT, in chunks of so many octets. What the server does not offer is an error, or
 * left out if --falls-back; the report says how many messages went which way. --resumes offers each session the TLS
 * session of the one before it. --warm-up runs N sessions in each place first, which are not counted. --hold opens N
 * sessions, --at-once at a time, that do nothing after EHLO. --pauses prints "ready" between warm-up and measurement, or
 * when all are held, and waits for a line.
 *
 * One line of JSON tells what was seen; latencies run from connect() to the reply to QUIT, in milliseconds. */
#include "client.h"
#include "tally.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { MOST_ERRORS = 100, SILENCE_MS = 5000 };

static long at_once = 1, warm_up, hold, messages = 1;
static double seconds = 1;
static struct message message = {.size_octets = 4096};
static int pauses;

static struct client *clients;
static long busy;       /* clients with something going on */
static long next;       /* of those to be held, the first that has not begun */
static double stop_at_s; /* 0: still warming up */
static int gave_up;

static int goes_on(const struct client *client)
{
    gave_up |= tally.errors >= MOST_ERRORS;
    if (gave_up || hold)
        return 0;
    return stop_at_s > 0 ? now_s() < stop_at_s : client->sessions < warm_up;
}

static void begin(struct client *client)
{
    busy++;
    client_connect(client);
}

static void begin_next_held(void)
{
    if (next < hold && !gave_up)
        begin(&clients[next++]);
}

static void over(struct client *client, enum progress progress)
{
    busy--;
    if (progress == FAILED)
        tally_error(client->failure, client->step->name, client->line);
    else
        tally_session(now_s() - client->began_s);
    client_close(client);
    if (goes_on(client))
        begin(client);
    begin_next_held();
}

static void heed(struct client *client, enum progress progress)
{
    if (progress == HELD) {
        busy--;
        tally.held++;
        begin_next_held();
    } else if (progress != WAITING) {
        over(client, progress);
    }
}

static void serve(struct client *client)
{
    if (client->state != IDLE) {
        heed(client, client_serve(client));
    } else if (!client_is_open(client)) {
        tally_error("closed while it was held", client->step->name, "");
        client_close(client);
    }
}

/* Return when nothing goes on any more. */
static void run(void)
{
    while (busy && !gave_up) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, SILENCE_MS);
        if (ready == 0) {
            tally_error("nothing happened for 5 s", "some session", "");
            gave_up = 1;
        }
        for (int at = 0; at < ready; at++)
            serve(events[at].data.ptr);
    }
}

static void await_word(void)
{
    if (!pauses || gave_up)
        return;
    puts("ready");
    fflush(stdout);
    for (int letter = getchar(); letter != '\n' && letter != EOF;)
        letter = getchar();
}

static void begin_all(long count)
{
    for (long at = 0; at < count; at++)
        begin(&clients[at]);
}

static void load(void)
{
    if (warm_up)
        begin_all(at_once);
    run();
    await_word();
    tally_begin();
    double began_s = now_s();
    stop_at_s = began_s + seconds;
    if (!gave_up)
        begin_all(at_once);
    run();
    tally_print(now_s() - began_s, manner.wanted.message_octets);
}

static void load_held(void)
{
    double began_s = now_s();
    while (next < at_once && next < hold)
        begin_next_held();
    run();
    await_word();
    for (long at = 0; at < hold; at++)
        if (clients[at].state == IDLE) {
            busy++;
            heed(&clients[at], client_release(&clients[at]));
        }
    run();
    tally_print(now_s() - began_s, 0);
}

static int yes(const char *value)
{
    return !strcmp(value, "yes");
}

static enum mode mode_named(const char *name)
{
    return !strcmp(name, "implicit") ? IMPLICIT : !strcmp(name, "starttls") ? STARTTLS : CLEAR;
}

static void read_option(const char *option, const char *value)
{
    if (!strcmp(option, "--mode"))
        manner.mode = mode_named(value);
    else if (!strcmp(option, "--host"))
        manner.host = value;
    else if (!strcmp(option, "--port"))
        manner.port = atoi(value);
    else if (!strcmp(option, "--at-once"))
        at_once = atol(value);
    else if (!strcmp(option, "--seconds"))
        seconds = atof(value);
    else if (!strcmp(option, "--warm-up"))
        warm_up = atol(value);
    else if (!strcmp(option, "--messages"))
        messages = atol(value);
    else if (!strcmp(option, "--size"))
        message.size_octets = (size_t)atol(value);
    else if (!strcmp(option, "--pipelining"))
        message.pipelining = yes(value);
    else if (!strcmp(option, "--chunks"))
        message.chunk_octets = (size_t)atol(value);
    else if (!strcmp(option, "--falls-back"))
        manner.falls_back = yes(value);
    else if (!strcmp(option, "--resumes"))
        manner.resumes = yes(value);
    else if (!strcmp(option, "--hold"))
        hold = atol(value);
    else if (!strcmp(option, "--pauses"))
        pauses = yes(value);
    else
        die(option);
}

int main(int count, char **words)
{
    manner.host = "127.0.0.1";
    for (int at = 1; at + 1 < count; at += 2)
        read_option(words[at], words[at + 1]);
    signal(SIGPIPE, SIG_IGN);
    allow_many_descriptors();
    poller = epoll_create1(0);
    manner.holds = hold > 0;
    manner.wanted = write_script(manner.mode, message, hold ? 0 : messages);
    manner.plain = write_script(manner.mode, (struct message){.size_octets = message.size_octets}, hold ? 0 : messages);
    client_prepare();
    clients = allocate((size_t)(hold > at_once ? hold : at_once) * sizeof *clients);
    if (hold)
        load_held();
    else
        load();
    return tally.errors != 0;
}
