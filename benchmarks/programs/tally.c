#define _GNU_SOURCE
#include "tally.h"
#include "stream.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct tally tally;

static double *latencies_ms;
static long room;

double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void tally_session(double took_s)
{
    if (tally.sessions == room) {
        room = room ? 2 * room : 4096;
        if (!(latencies_ms = realloc(latencies_ms, (size_t)room * sizeof *latencies_ms)))
            die("realloc");
    }
    latencies_ms[tally.sessions++] = took_s * 1e3;
}

void tally_error(const char *why, const char *where, const char *line)
{
    if (tally.errors++)
        return;
    snprintf(tally.first_error, sizeof tally.first_error, "%s at %s: %.80s", why, where, line);
    for (char *at = tally.first_error; *at; at++)
        if (*at < ' ' || *at > '~' || *at == '"' || *at == '\\')
            *at = ' '; /* it stands in JSON */
}

void tally_begin(void)
{
    tally.sessions = tally.messages = tally.pipelined = tally.chunked = tally.resumed = 0;
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double percentile_ms(double share)
{
    return tally.sessions ? latencies_ms[(long)(share * (double)(tally.sessions - 1) + 0.5)] : 0;
}

void tally_print(double elapsed_s, size_t message_octets)
{
    if (tally.sessions)
        qsort(latencies_ms, (size_t)tally.sessions, sizeof *latencies_ms, ascending);
    printf("{\"sessions\": %ld, \"messages\": %ld, \"pipelined\": %ld, \"chunked\": %ld, \"resumed\": %ld, \"held\": %ld, "
           "\"seconds\": %.4f, \"octets\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"errors\": %ld, \"first_error\": \"%s\", \"cipher\": \"%s\"}\n",
           tally.sessions, tally.messages, tally.pipelined, tally.chunked, tally.resumed, tally.held, elapsed_s,
           message_octets, percentile_ms(0.5), percentile_ms(0.99), tally.errors, tally.first_error, tally.cipher);
}
