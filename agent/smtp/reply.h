// SMTP replies (RFC 5321 section 4.2): parsed from whatever octets a server sends, bounded, judged later.
#ifndef OUTTRAY_AGENT_SMTP_REPLY_H
#define OUTTRAY_AGENT_SMTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#define REPLY_LINE_MAX  2048 // octets of one line with its CRLF
#define REPLY_LINES_MAX 100  // lines of one reply
#define REPLY_TEXT_MAX  1024 // octets kept of a reply's text, lines joined by one blank

struct smtp_reply {
    int code;        // 200 … 599; 0: none was received
    int enhanced[3]; // RFC 3463 class, subject, detail; all 0 where the server gave none
    // As sent, with code and enhanced code: "250 2.0.0 Ok: queued as 4X"; raw octets but NUL. Of further
    // lines the code, and an enhanced code that repeats the first line's, are left out.
    char text[REPLY_TEXT_MAX + 1];
};

// The reader of one connection: feed it octets, take replies out.
struct reply_reader {
    struct smtp_reply reply; // the one being built
    char line[REPLY_LINE_MAX];
    size_t line_length; // octets of a line that came in pieces
    size_t text_length; // octets in reply.text
    unsigned n_lines;   // lines of the reply being built
};

void reply_reader_init(struct reply_reader *reader);

// Consumes octets from data. 1: a reply is complete in reader->reply (take it before the next call), 0: more
// octets are needed, -EPROTO: not SMTP (no three digits, codes that differ within one reply, too long a line,
// too many lines); *ret_problem then points to a constant text. *ret_used says how many octets were consumed
// in each case.
int reply_read(
    struct reply_reader *reader, const char *data, size_t length, size_t *ret_used, const char **ret_problem);

// Parses one whole reply text ("535 5.7.139 …"), for tests and for what libcurl hands over. False where it is
// none.
bool reply_parse(const char *text, struct smtp_reply *ret_reply);

// Copies what is in use: the text behind its NUL stays as it was.
void reply_copy(struct smtp_reply *to, const struct smtp_reply *from);
// Whether both say the same, word for word.
bool reply_same(const struct smtp_reply *a, const struct smtp_reply *b);

#endif
