// The octets on their way to the server: one buffer that never moves what was already offered to libcurl.
//
// After CURLE_AGAIN on a TLS connection the same pointer and length must be offered again (OpenSSL's bad
// write retry), so octets are appended behind what waits, and the buffer starts over only once it is empty.
#ifndef OUTTRAY_AGENT_SMTP_OUTPUT_H
#define OUTTRAY_AGENT_SMTP_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTPUT_SIZE 65536 // octets: several small transactions go into one write

struct output {
    char *data;        // owned, OUTPUT_SIZE octets
    size_t start, end; // what waits
    size_t retry;      // octets last offered and not taken; 0: free to offer any number
    uint64_t produced; // octets ever appended
    uint64_t sent;     // octets ever taken by libcurl
};

int output_init(struct output *output); // 0 or -ENOMEM
void output_release(struct output *output);

static inline size_t output_waiting(const struct output *output)
{
    return output->end - output->start;
}
static inline size_t output_room(const struct output *output)
{
    return OUTPUT_SIZE - output->end;
}

// Appends; the caller made sure of the room.
void output_add(struct output *output, const void *data, size_t length);
void output_text(struct output *output, const char *text);
void output_number(struct output *output, uint64_t value);
// Where to put up to output_room octets; output_grew says how many were put.
static inline char *output_tail(struct output *output)
{
    return output->data + output->end;
}
void output_grew(struct output *output, size_t length);

// libcurl took so many octets, or none (CURLE_AGAIN) of the length that was offered.
void output_taken(struct output *output, size_t length);
void output_refused(struct output *output, size_t offered);

#endif
