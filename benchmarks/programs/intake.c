#define _GNU_SOURCE
#include "intake.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char END[] = "\r\n.\r\n";
enum { END_LENGTH = sizeof END - 1, SEAM = END_LENGTH - 1 };

FILE *kept;

static void keep(const char *octets, size_t length)
{
    if (kept) {
        fwrite(octets, 1, length, kept);
        fflush(kept);
    }
}

void intake_begin(struct intake *intake)
{
    memcpy(intake->last, "\0\0\r\n", SEAM);
}

int intake_begin_chunk(struct intake *intake, const char *argument)
{
    char *end;
    if (!isdigit((unsigned char)*argument))
        return 0;
    intake->chunk_left = strtoull(argument, &end, 10);
    intake->chunk_is_last = !strncasecmp(end, " LAST", 5);
    return intake->chunk_is_last || isspace((unsigned char)*end);
}

/* Return how many octets lead to the end of the content, 0 if it is not among them. */
static size_t find_end(const struct intake *intake, const char *octets, size_t length)
{
    char seam[2 * SEAM];
    size_t head = length < SEAM ? length : SEAM;
    memcpy(seam, intake->last, SEAM);
    memcpy(seam + SEAM, octets, head);
    const char *found = memmem(seam, SEAM + head, END, END_LENGTH);
    if (found)
        return (size_t)(found - seam) + END_LENGTH - SEAM;
    found = memmem(octets, length, END, END_LENGTH);
    return found ? (size_t)(found - octets) + END_LENGTH : 0;
}

static void remember_last(struct intake *intake, const char *octets, size_t length)
{
    size_t fresh = length < SEAM ? length : SEAM;
    memmove(intake->last, intake->last + fresh, SEAM - fresh);
    memcpy(intake->last + SEAM - fresh, octets + length - fresh, fresh);
}

size_t intake_data(struct intake *intake, const char *octets, size_t length, int *ends)
{
    size_t used = find_end(intake, octets, length);
    *ends = used != 0;
    if (!used) {
        remember_last(intake, octets, length);
        used = length;
    }
    keep(octets, used);
    return used;
}

size_t intake_chunk(struct intake *intake, const char *octets, size_t length, int *ends)
{
    size_t used = length < intake->chunk_left ? length : intake->chunk_left;
    intake->chunk_left -= used;
    *ends = !intake->chunk_left;
    keep(octets, used);
    return used;
}
