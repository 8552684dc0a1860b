// The SMTP dialogue of the sink: octets in, replies out, mail counted and thrown away.
#ifndef OUTTRAY_TESTS_BENCH_SINK_DIALOGUE_H
#define OUTTRAY_TESTS_BENCH_SINK_DIALOGUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SINK_STAMP_ID   "<latency." // what begins the Message-ID of mail whose MAIL is to be stamped
#define SINK_LINE_MAX   4096        // octets of a command
#define SINK_HEADER_MAX 8192        // octets of a message, where its Message-ID is looked for
#define SINK_SIZE_LIMIT 157286400   // octets of a message

struct dialogue;

// Answers instead of the sink's own "yes", for tests that keep accounts (ledger.h). Replies end in CR LF.
struct sink_judge {
    const char *(*login)(void);
    const char *(*recipient)(struct dialogue *dialogue, const char *address); // what follows RCPT TO:
    // The end of a message with accepted recipients. NULL: the connection ends without a reply.
    const char *(*message)(struct dialogue *dialogue, uint64_t id_hash);
};

struct sink_options {
    bool no_pipelining, no_chunking, auth, duplicates, starttls;
    FILE *stamps; // where not NULL: a line "MESSAGE-ID NS" for each message with SINK_STAMP_ID
    const struct sink_judge *judge; // NULL: everything is accepted
};

// Counted by all threads.
struct sink_counts {
    _Atomic uint64_t messages, recipients, octets, connections, open, open_most, commands, duplicates, errors;
    _Atomic int64_t first_ns, last_ns; // the end of a message, CLOCK_MONOTONIC
};

enum sink_state { SINK_COMMAND, SINK_DATA, SINK_BDAT, SINK_BDAT_LAST, SINK_AUTH_USER, SINK_AUTH_ANY };

struct dialogue {
    const struct sink_options *options;
    struct sink_counts *counts;
    enum sink_state state;
    bool quitting; // the connection ends when its replies are written
    bool tls_next; // STARTTLS was answered: the handshake follows the replies
    bool tls;
    uint64_t left;    // octets of a BDAT chunk
    unsigned matched; // octets of CR LF . CR LF
    size_t line_length, header_length;
    int64_t fed_ns;  // CLOCK_MONOTONIC; when the data that is looked at was read,
    int64_t line_ns; // and when the first octet of the command that is read now was,
    int64_t mail_ns; // and that of the last MAIL; with options->stamps only
    char line[SINK_LINE_MAX];
    char *header; // owned; with options->duplicates or options->stamps only
    char *out;    // owned: replies
    size_t out_length, out_size;
    unsigned accepted; // recipients of this transaction
    // The judge's own: whose connection this is, and what the transaction came to so far.
    struct {
        uint32_t serial;
        uint16_t generation;
        uint8_t slots;
        char verdict;
    } judged;
};

void dialogue_init(struct dialogue *dialogue, const struct sink_options *options, struct sink_counts *counts);
void dialogue_release(struct dialogue *dialogue);
void dialogue_greet(struct dialogue *dialogue);
// Consumes all of data, unless the dialogue ends or turns to TLS within it.
void dialogue_feed(struct dialogue *dialogue, const char *data, size_t length);

#endif
