// The sink's accounts: what became of every message, in a file that is mapped into memory, so that it
// outlives the sink and can be read while it runs. On one thread.
//
// A recipient's address is V.SLOT.SERIAL@DOMAIN: SERIAL numbers the message, SLOT (0 to 3) its recipients,
// and V asks for an answer: a accepted; d 451 at RCPT for the first two tries, h for the first fourteen; e
// 452 after the dot at the first try; f 550 at RCPT; g 554 after the dot; x accepted at the first try, but
// the connection ends instead of the reply. The answer after the dot goes by the message's first recipient
// that was accepted at RCPT.
//
// A generation is one life of the client: whoever kills it counts `generation` up before it starts the next.
// A connection belongs to the generation in which it was accepted.
#ifndef OUTTRAY_TESTS_BENCH_SINK_LEDGER_H
#define OUTTRAY_TESTS_BENCH_SINK_LEDGER_H

#include "dialogue.h"

#define LEDGER_SLOTS           4
#define LEDGER_GENERATIONS_MAX 8192

// The file: this head, then an entry for each serial. Little endian, as the machine has it.
struct ledger_head {
    _Atomic uint32_t generation;
    _Atomic uint32_t refuse_every; // every so-manieth login gets a 535; 0: none
    uint32_t messages;             // how many entries there are; serials begin at 0
    uint32_t logins, refused_logins;
    uint32_t strangers;   // recipients that are in no form above, or beyond the entries
    uint32_t other_ids;   // repeats with another Message-ID than before
    uint32_t unknown_ids; // messages without a Message-ID
    struct {
        uint32_t dropped;      // connections that ended instead of a reply
        uint32_t repeats;      // messages accepted again in the same generation: after a drop
        uint32_t repeats_kill; // accepted last in this generation, and again in a later one
        uint32_t accepted;
    } generations[LEDGER_GENERATIONS_MAX];
};

struct ledger_entry {
    uint64_t id_hash; // of the Message-ID; 0: none seen
    uint8_t accepted[LEDGER_SLOTS], tried[LEDGER_SLOTS];
    uint16_t generation;    // of the last accepted transaction
    uint8_t dropped, ended; // ends without a reply; tries that came to the dot
    uint32_t unused;
};

// Maps the file, which whoever starts the sink has made. Ends the program where that fails.
const struct sink_judge *ledger_open(const char *path);
void ledger_connected(struct dialogue *dialogue);

#endif
