/* A non-blocking TCP stream, in clear or inside TLS: what the load and the sink have in common. */
#ifndef STREAM_H
#define STREAM_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stddef.h>

enum io { IO_DONE, IO_WAIT_READ, IO_WAIT_WRITE, IO_CLOSED };

struct stream {
    int fd;
    SSL *ssl; /* NULL while in clear */
    int waits_to_write;
};

extern int poller; /* the one epoll instance of the program */

_Noreturn void die(const char *what);
void *allocate(size_t octets);
void allow_many_descriptors(void);

struct sockaddr_in endpoint(const char *host, int port);
void set_no_delay(int fd);
SSL_CTX *new_context(const SSL_METHOD *method);

void watch(struct stream *stream, void *owner, int operation);
void want_write(struct stream *stream, void *owner, int wanted);

enum io stream_read(struct stream *stream, char *into, size_t room, size_t *count);
enum io stream_write(struct stream *stream, const char *from, size_t length, size_t *count);
void stream_begin_tls(struct stream *stream, SSL_CTX *context);
enum io stream_handshake(struct stream *stream);
void stream_close(struct stream *stream);

#endif
