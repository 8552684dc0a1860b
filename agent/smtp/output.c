// The output buffer of one session.
#include "output.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int output_init(struct output *output)
{
    *output = (struct output){.data = malloc(OUTPUT_SIZE)};
    return output->data ? 0 : -ENOMEM;
}

void output_release(struct output *output)
{
    free(output->data);
    output->data = NULL;
}

void output_grew(struct output *output, size_t length)
{
    assert(length <= output_room(output));
    output->end += length;
    output->produced += length;
}

void output_add(struct output *output, const void *data, size_t length)
{
    assert(length <= output_room(output));
    memcpy(output_tail(output), data, length);
    output_grew(output, length);
}

void output_text(struct output *output, const char *text)
{
    output_add(output, text, strlen(text));
}

void output_number(struct output *output, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    output_add(output, digits + at, sizeof digits - at);
}

void output_taken(struct output *output, size_t length)
{
    assert(length <= output_waiting(output));
    output->start += length;
    output->sent += length;
    output->retry = 0;
    if (output->start == output->end)
        output->start = output->end = 0;
}

void output_refused(struct output *output, size_t offered)
{
    output->retry = offered;
}
