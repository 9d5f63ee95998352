#include "script.h"
#include "stream.h"
#include <stdio.h>
#include <string.h>

enum { MOST_STEPS = 1 << 20, LINE = 78 };

static void add(struct script *script, struct step step)
{
    if (script->count == MOST_STEPS)
        die("too many steps");
    script->steps[script->count++] = step;
}

static void add_line(struct script *script, const char *name, const char *line, int code, enum meaning meaning)
{
    add(script, (struct step){name, line, strlen(line), code, meaning});
}

static char *joined(const char *left, size_t left_length, const char *right, size_t right_length)
{
    char *both = allocate(left_length + right_length + 1);
    memcpy(both, left, left_length);
    memcpy(both + left_length, right, right_length);
    return both;
}

/* A header and lines of 76 letters; ends with a line's end, and no line begins with a dot. */
static char *write_content(size_t size)
{
    static const char head[] = "From: a@client.test\r\nTo: b@sink.test\r\nSubject: load\r\n\r\n";
    char *content = allocate(size);
    for (size_t at = 0; at < size; at++)
        content[at] = at % LINE == LINE - 2 ? '\r' : at % LINE == LINE - 1 ? '\n' : 'x';
    memcpy(content, head, sizeof head - 1);
    if (content[size - 3] == '\r')
        content[size - 3] = 'x'; /* it would be a bare one */
    memcpy(content + size - 2, "\r\n", 2);
    return content;
}

static void add_chunks(struct script *script, const char *content, size_t size)
{
    size_t most = script->message.chunk_octets;
    for (size_t at = 0; at < size; at += most) {
        char verb[64];
        size_t length = size - at < most ? size - at : most;
        int is_last = at + length == size;
        int verb_length = snprintf(verb, sizeof verb, "BDAT %zu%s\r\n", length, is_last ? " LAST" : "");
        const char *octets = joined(verb, (size_t)verb_length, content + at, length);
        add(script, (struct step){"BDAT", octets, (size_t)verb_length + length, 250, is_last ? MESSAGE : PLAIN_REPLY});
    }
}

/* Let the octets of the steps from FIRST on leave as one. */
static void group(struct script *script, size_t first, size_t end)
{
    struct step *leader = &script->steps[first];
    for (struct step *step = leader + 1; step < script->steps + end; step++) {
        leader->octets = joined(leader->octets, leader->length, step->octets, step->length);
        leader->length += step->length;
        step->length = 0;
    }
}

static void add_message(struct script *script, const char *content, size_t size)
{
    size_t first = script->count;
    add_line(script, "MAIL", "MAIL FROM:<a@client.test>\r\n", 250, PLAIN_REPLY);
    add_line(script, "RCPT", "RCPT TO:<b@sink.test>\r\n", 250, PLAIN_REPLY);
    if (script->message.chunk_octets)
        add_chunks(script, content, size);
    else
        add_line(script, "DATA", "DATA\r\n", 354, PLAIN_REPLY);
    if (script->message.pipelining)
        group(script, first, script->count);
    if (!script->message.chunk_octets)
        add(script, (struct step){"content", joined(content, size, ".\r\n", 3), size + 3, 250, MESSAGE});
}

static void add_opening(struct script *script, enum mode mode)
{
    static const char hello[] = "EHLO client.test\r\n";
    add_line(script, "greeting", "", 220, PLAIN_REPLY);
    if (mode == STARTTLS) {
        add_line(script, "EHLO", hello, 250, PLAIN_REPLY);
        add_line(script, "STARTTLS", "STARTTLS\r\n", 220, UPGRADE);
    }
    add_line(script, "EHLO", hello, 250, READY);
}

struct script write_script(enum mode mode, struct message message, long messages)
{
    enum { LEAST = 256 };
    struct script script = {.steps = allocate(MOST_STEPS * sizeof *script.steps), .message = message};
    add_opening(&script, mode);
    script.message_octets = message.size_octets < LEAST ? LEAST : message.size_octets;
    if (messages) {
        const char *content = write_content(script.message_octets);
        size_t first = script.count;
        add_message(&script, content, script.message_octets);
        size_t each = script.count - first;
        for (long more = 1; more < messages; more++)
            for (size_t at = 0; at < each; at++)
                add(&script, script.steps[first + at]);
    }
    add_line(&script, "QUIT", "QUIT\r\n", 221, LAST);
    return script;
}
