// EHLO keywords to capabilities.
#include "capabilities.h"

#include <strings.h>

static const struct keyword {
    const char *name;
    size_t length;
    size_t flag; // offset of its bool
} keywords[] = {
#define KEYWORD(name, flag)                                                                                  \
    {                                                                                                        \
        name, sizeof name - 1, offsetof(struct smtp_capabilities, flag)                                      \
    }
    KEYWORD("PIPELINING", pipelining),
    KEYWORD("CHUNKING", chunking),
    KEYWORD("8BITMIME", eight_bit),
    KEYWORD("SMTPUTF8", smtputf8),
    KEYWORD("DSN", dsn),
    KEYWORD("ENHANCEDSTATUSCODES", enhanced_codes),
    KEYWORD("STARTTLS", starttls),
    KEYWORD("SIZE", size),
#undef KEYWORD
};

// The number after SIZE. What is no number, or too large for one, limits nothing.
static uint64_t size_limit(const char *text, size_t length)
{
    uint64_t value = 0;
    while (length && *text == ' ') {
        text++;
        length--;
    }
    for (size_t i = 0; i < length; i++)
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return 0;
    return value;
}

void capabilities_line(struct smtp_capabilities *capabilities, const char *text, size_t length)
{
    while (length && (text[length - 1] == '\n' || text[length - 1] == '\r' || text[length - 1] == ' '))
        length--;
    if (length > SMTP_CAPABILITY_MAX)
        length = SMTP_CAPABILITY_MAX;
    size_t word = 0;
    while (word < length && text[word] != ' ')
        word++;
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (word != keywords[i].length || strncasecmp(text, keywords[i].name, word) != 0)
            continue;
        *(bool *)((char *)capabilities + keywords[i].flag) = true;
        if (keywords[i].flag == offsetof(struct smtp_capabilities, size))
            capabilities->size_max = size_limit(text + word, length - word);
        return;
    }
}
