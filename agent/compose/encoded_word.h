// Header text for a seven-bit wire: encoded words (RFC 2047), phrases, folding (RFC 5322 section 2.2.3).
//
// Writers append to a buffer and leave errors in it (buffer_error). Text in UTF-8 becomes words in charset
// "utf-8", split at character borders; text that is not UTF-8 becomes words in charset "unknown-8bit" (RFC
// 1428), so that no octet of it is lost. Control octets never get through: they become blanks, which is what
// keeps a configured name from starting a header line of its own.
#ifndef OUTTRAY_AGENT_COMPOSE_ENCODED_WORD_H
#define OUTTRAY_AGENT_COMPOSE_ENCODED_WORD_H

#include "agent/base/buffer.h"

#define ENCODED_WORD_MAX 75 // octets of one encoded word, RFC 2047 section 2
#define FOLD_LINE_MAX    76 // octets of a line that holds one, without its line end

bool text_has_8bit(const char *text, size_t length);
bool text_is_utf8(const char *text, size_t length); // no overlong forms, surrogates or numbers above U+10FFFF
// Octets of the character at text[0] if it is well-formed UTF-8 within length, else 0.
size_t text_utf8_step(const char *text, size_t length);
// Whether the word is an encoded word as RFC 2047 writes them: it is kept as it stands.
bool text_is_encoded_word(const char *word, size_t length);

// Appends text as encoded words with single blanks between them. column is where in its line the first one
// starts, so that it still fits there.
void encoded_words_append(struct buffer *out, size_t column, const char *text, size_t length);

// Appends a display name (unquoted, as struct mailbox has it) as an RFC 5322 phrase: atoms where they do,
// else a quoted string, encoded words where it is not ASCII; encoded words in it are kept.
void phrase_append(struct buffer *out, size_t column, const char *display);

// Appends "NAME: VALUE" CRLF, where VALUE has no line ends, broken at blanks so that lines stay within
// FOLD_LINE_MAX where there are blanks to break at.
void field_append(struct buffer *out, const char *name, size_t name_length, const char *value, size_t length);

#endif
