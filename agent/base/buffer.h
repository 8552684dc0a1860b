// The one growing buffer of the agent: octets with a mandatory maximum.
//
// Calling sequence: buffer_init with the maximum; append; buffer_clear to start over; buffer_release. A
// failed append leaves the buffer as it was and is remembered: buffer_error answers the first failure since
// init or clear, so a writer may append many pieces and ask once. data is NUL-terminated behind length
// whenever it is not NULL.
#ifndef OUTTRAY_AGENT_BASE_BUFFER_H
#define OUTTRAY_AGENT_BASE_BUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buffer {
    char *data;      // owned; NULL while nothing was appended
    size_t length;   // octets in use
    size_t capacity; // octets allocated, less one for the NUL
    size_t max;      // length never exceeds this
    int error;       // 0, -E2BIG or -ENOMEM
    bool secret;     // wiped when it is released or moved
};

void buffer_init(struct buffer *buffer, size_t max);
// From now on no octet of it stays behind in memory: it is wiped when the buffer is released, or moved
// because it grows.
void buffer_make_secret(struct buffer *buffer);
void buffer_release(struct buffer *buffer); // the buffer may be used again afterwards
void buffer_clear(struct buffer *buffer);

int buffer_append(struct buffer *buffer, const void *data, size_t length);
int buffer_text(struct buffer *buffer, const char *text); // NUL-terminated
int buffer_format(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Makes room for length more octets and returns where to put them; NULL on failure. buffer_grew tells how
// many were put.
char *buffer_reserve(struct buffer *buffer, size_t length);
void buffer_grew(struct buffer *buffer, size_t length);
// Appends what a descriptor gives until its end. 0, the buffer's error, or what read(2) said.
int buffer_read(struct buffer *buffer, int fd);
int buffer_error(const struct buffer *buffer);
// Drops what lies behind length (at most buffer->length), and forgets a failure with it.
void buffer_truncate(struct buffer *buffer, size_t length);

// Ownership of the octets moves to the caller (free(3)); the buffer is empty again. NULL where it holds
// nothing.
char *buffer_detach(struct buffer *buffer, size_t *ret_length);

#endif
