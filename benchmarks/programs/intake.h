/* The content of a message as a server takes it: up to its dot, or counted by BDAT. */
#ifndef INTAKE_H
#define INTAKE_H

#include <stddef.h>
#include <stdio.h>

struct intake {
    char last[4]; /* of the content so far, where the end of data may be cut in two */
    size_t chunk_left;
    int chunk_is_last;
};

extern FILE *kept; /* where content goes as it came; NULL: nowhere */

void intake_begin(struct intake *intake);
/* Return whether a BDAT command was read. */
int intake_begin_chunk(struct intake *intake, const char *argument);
/* Return how many octets were used; *ends tells whether the message, or the chunk, is complete. */
size_t intake_data(struct intake *intake, const char *octets, size_t length, int *ends);
size_t intake_chunk(struct intake *intake, const char *octets, size_t length, int *ends);

#endif
