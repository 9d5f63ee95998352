/* An SMTP server that takes every message and keeps none: the cheapest upstream that a proxy can be measured against.
 *
 *   sink --clear PORT --starttls PORT --implicit PORT --polite PORT --certificate FILE --key FILE
 *        [--offers "PIPELINING CHUNKING 8BITMIME SIZE"] [--keep FILE]
 *
 * Each port is optional. A polite port speaks implicit TLS too, but never closes first: sslsplit 0.5.5 ends its whole
 * process on some sessions that the server closes. --offers names what EHLO announces, SIZE without its figure. --keep
 * writes all content to a file, as it came. On SIGUSR1 one line of JSON tells what was taken so far. */
#define _GNU_SOURCE
#include "server.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

struct listener {
    int is_listener; /* 1 */
    int fd;
    enum kind kind;
};

static const char *certificate, *key, *offers = "PIPELINING CHUNKING 8BITMIME SIZE";
static volatile sig_atomic_t is_asked;

static void listen_on(int port, enum kind kind)
{
    struct listener *listener = allocate(sizeof *listener);
    struct sockaddr_in address = endpoint("127.0.0.1", port);
    int on = 1;
    *listener = (struct listener){.is_listener = 1, .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .kind = kind};
    setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener->fd, (struct sockaddr *)&address, sizeof address) || listen(listener->fd, 4096))
        die("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener->fd, &event))
        die("epoll_ctl");
}

static void take_connection(const struct listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= 0)
        server_begin(fd, listener->kind);
}

static SSL_CTX *load_certificate(void)
{
    SSL_CTX *context = new_context(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 || SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        die(certificate);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_num_tickets(context, 1);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)"sink", 4);
    return context;
}

static void keep_in(const char *path)
{
    if (!(kept = fopen(path, "wb")))
        die(path);
}

static void read_option(const char *option, const char *value)
{
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
    else if (!strcmp(option, "--offers"))
        offers = value;
    else if (!strcmp(option, "--keep"))
        keep_in(value);
    else
        die(option);
}

static void on_signal(int number)
{
    (void)number;
    is_asked = 1;
}

/* Let the signal come only while the sink waits, so that none is overlooked; return the mask to wait with. */
static sigset_t hear_signal(void)
{
    sigset_t only, before;
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&only);
    sigaddset(&only, SIGUSR1);
    sigprocmask(SIG_BLOCK, &only, &before);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    return before;
}

static void tell(void)
{
    is_asked = 0;
    printf("{\"sessions\": %ld, \"handshakes\": %ld, \"resumed\": %ld, \"messages\": %ld, \"chunked\": %ld, "
           "\"grouped\": %ld, \"octets\": %ld}\n",
           counts.sessions, counts.handshakes, counts.resumed, counts.messages, counts.chunked, counts.grouped, counts.octets);
    fflush(stdout);
}

int main(int count, char **words)
{
    sigset_t waiting = hear_signal();
    allow_many_descriptors();
    poller = epoll_create1(0);
    for (int at = 1; at + 1 < count; at += 2)
        read_option(words[at], words[at + 1]);
    server_prepare(offers, certificate && key ? load_certificate() : NULL);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_pwait(poller, events, 256, -1, &waiting);
        if (is_asked)
            tell();
        for (int at = 0; at < ready; at++) {
            if (*(int *)events[at].data.ptr)
                take_connection(events[at].data.ptr);
            else
                server_serve(events[at].data.ptr);
        }
    }
}
