#include "stream.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

int poller;

_Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
    ERR_print_errors_fp(stderr);
    exit(2);
}

void *allocate(size_t octets)
{
    void *memory = calloc(1, octets);
    if (!memory)
        die("calloc");
    return memory;
}

void allow_many_descriptors(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

struct sockaddr_in endpoint(const char *host, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        die(host);
    return address;
}

void set_no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* The modes that a non-blocking writer needs, and less memory for an idle session. */
SSL_CTX *new_context(const SSL_METHOD *method)
{
    SSL_CTX *context = SSL_CTX_new(method);
    if (!context)
        die("SSL_CTX_new");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set1_groups_list(context, "X25519:P-256");
    return context;
}

void watch(struct stream *stream, void *owner, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (stream->waits_to_write ? EPOLLOUT : 0u), .data.ptr = owner};
    if (epoll_ctl(poller, operation, stream->fd, &event))
        die("epoll_ctl");
}

/* Ask to be woken for writing as well, or no longer; a system call only where that changes. */
void want_write(struct stream *stream, void *owner, int wanted)
{
    if (stream->waits_to_write == wanted)
        return;
    stream->waits_to_write = wanted;
    watch(stream, owner, EPOLL_CTL_MOD);
}

static enum io tls_outcome(struct stream *stream, int result)
{
    switch (SSL_get_error(stream->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return IO_WAIT_READ;
    case SSL_ERROR_WANT_WRITE:
        return IO_WAIT_WRITE;
    default:
        return IO_CLOSED;
    }
}

enum io stream_read(struct stream *stream, char *into, size_t room, size_t *count)
{
    if (stream->ssl) {
        int result = SSL_read_ex(stream->ssl, into, room, count);
        return result == 1 ? IO_DONE : tls_outcome(stream, result);
    }
    ssize_t result = recv(stream->fd, into, room, 0);
    if (result > 0) {
        *count = (size_t)result;
        return IO_DONE;
    }
    return result < 0 && errno == EAGAIN ? IO_WAIT_READ : IO_CLOSED;
}

enum io stream_write(struct stream *stream, const char *from, size_t length, size_t *count)
{
    if (stream->ssl) {
        int result = SSL_write_ex(stream->ssl, from, length, count);
        return result == 1 ? IO_DONE : tls_outcome(stream, result);
    }
    ssize_t result = send(stream->fd, from, length, MSG_NOSIGNAL);
    if (result >= 0) {
        *count = (size_t)result;
        return IO_DONE;
    }
    return errno == EAGAIN ? IO_WAIT_WRITE : IO_CLOSED;
}

void stream_begin_tls(struct stream *stream, SSL_CTX *context)
{
    stream->ssl = SSL_new(context);
    if (!stream->ssl || !SSL_set_fd(stream->ssl, stream->fd))
        die("SSL_new");
}

enum io stream_handshake(struct stream *stream)
{
    int result = SSL_do_handshake(stream->ssl);
    return result == 1 ? IO_DONE : tls_outcome(stream, result);
}

void stream_close(struct stream *stream)
{
    if (stream->ssl) {
        SSL_shutdown(stream->ssl); /* sends close_notify and waits for nothing */
        SSL_free(stream->ssl);
        stream->ssl = NULL;
    }
    ERR_clear_error(); /* what is left in the queue would be blamed on another session */
    close(stream->fd);
}
