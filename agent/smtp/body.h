// The octets of a message as they go over the wire: a composed header block, then the body of the file with
// its line ends made CRLF (bare CR and bare LF first become CRLF; RFC 5321 section 2.3.8), streamed, never
// loaded whole.
//
// A body is measured once (smtp_body_scan, by the intake desk, which also warms the page cache) and read once
// or more on the wire thread. In BDAT form the octets are sent as they are; in DATA form lines that start
// with a dot get another one, and the lone dot ends it (section 4.5.2): smtp_body_read does that when asked
// to.
#ifndef OUTTRAY_AGENT_SMTP_BODY_H
#define OUTTRAY_AGENT_SMTP_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct smtp_body {
    const char *head; // borrowed: the header block with CRLF line ends, its empty line included; it may also
                      // hold the whole body behind it (small messages), then fd is -1 and file_length is 0
    size_t head_length;   // octets
    int fd;               // borrowed: the message file
    uint64_t file_offset; // where in it the body starts
    uint64_t file_length; // octets of the file that belong to the body, as found by the scan
    uint64_t size;        // exact octets on the wire in BDAT form: head and body
    bool has_8bit;        // some octet of the body is above 127
};

struct smtp_body_scan {
    uint64_t file_length; // octets read
    uint64_t wire_length; // octets after making line ends CRLF; a final line end is added where it is missing
    bool has_8bit;
    bool has_nul; // refused by the caller: RFC 5321 allows none
};

// Reads fd from offset to its end. 0 or negative errno of pread(2); -EFBIG once more than max octets were
// read.
int smtp_body_scan(int fd, uint64_t offset, uint64_t max, struct smtp_body_scan *ret_scan);

// Where a reader of a body stands.
struct smtp_body_cursor {
    uint64_t head_done, file_done; // octets consumed
    uint64_t wire_done;            // octets produced, without stuffing
    bool after_cr;                 // the last octet consumed was a CR whose line end was written
    bool line_start;               // the next octet starts a line
    bool finished;
};
void smtp_body_start(struct smtp_body_cursor *cursor);

// Writes at most size octets into to. stuff: DATA form (without the final dot line). Returns the number
// written, 0 when the body is at its end, -ENODATA where the file is shorter than its scan said (or longer:
// -EFBIG), or pread's error. size must be at least 16.
int64_t smtp_body_read(
    const struct smtp_body *body, struct smtp_body_cursor *cursor, bool stuff, char *to, size_t size);

// The same conversion in memory, for composing small messages: appends at most what fits; to must have room
// for 2 × length + 2 octets. Returns the octets written; a final line end is added where it is missing.
size_t smtp_body_convert(const char *text, size_t length, char *to);

#endif
