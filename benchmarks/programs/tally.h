/* What the load has seen. */
#ifndef TALLY_H
#define TALLY_H

#include <stddef.h>

struct tally {
    long sessions, messages, pipelined, chunked, resumed, held, errors;
    char first_error[200], cipher[80];
};

extern struct tally tally;

double now_s(void);
void tally_session(double took_s);
void tally_error(const char *why, const char *where, const char *line);
void tally_begin(void); /* forget what was seen, but for errors */
void tally_print(double elapsed_s, size_t message_octets);

#endif
