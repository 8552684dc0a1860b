// The growing buffer: doubling up to its maximum, errors remembered until the next clear.
#include "buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_CAPACITY_FIRST 240
#define BUFFER_READ_SIZE      4096

void buffer_init(struct buffer *buffer, size_t max)
{
    assert(max < SIZE_MAX); // the NUL behind it needs its octet
    *buffer = (struct buffer){.max = max};
}

void buffer_make_secret(struct buffer *buffer)
{
    buffer->secret = true;
}

void buffer_release(struct buffer *buffer)
{
    bool secret = buffer->secret;
    if (secret && buffer->data)
        explicit_bzero(buffer->data, buffer->capacity);
    free(buffer->data);
    buffer_init(buffer, buffer->max);
    buffer->secret = secret;
}

// realloc(3), which leaves nothing behind where the octets are secret.
static char *buffer_move(const struct buffer *buffer, size_t size)
{
    if (!buffer->secret)
        return realloc(buffer->data, size);
    char *data = malloc(size);
    if (!data || !buffer->data)
        return data;
    memcpy(data, buffer->data, buffer->length);
    explicit_bzero(buffer->data, buffer->capacity);
    free(buffer->data);
    return data;
}

void buffer_truncate(struct buffer *buffer, size_t length)
{
    assert(length <= buffer->length);
    buffer->length = length;
    buffer->error = 0;
    if (buffer->data)
        buffer->data[length] = '\0';
}

void buffer_clear(struct buffer *buffer)
{
    buffer_truncate(buffer, 0);
}

static int buffer_fail(struct buffer *buffer, int error)
{
    if (!buffer->error)
        buffer->error = error;
    return error;
}

char *buffer_reserve(struct buffer *buffer, size_t length)
{
    if (buffer->max - buffer->length < length) {
        buffer_fail(buffer, -E2BIG);
        return NULL;
    }
    size_t need = buffer->length + length;
    if (!buffer->data || need > buffer->capacity) {
        size_t capacity = buffer->capacity ? buffer->capacity : BUFFER_CAPACITY_FIRST;
        while (capacity < need && capacity <= buffer->max / 2)
            capacity *= 2;
        if (capacity < need || capacity > buffer->max)
            capacity = buffer->max;
        char *data = buffer_move(buffer, capacity + 1);
        if (!data) {
            buffer_fail(buffer, -ENOMEM);
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
        data[buffer->length] = '\0';
    }
    return buffer->data + buffer->length;
}

void buffer_grew(struct buffer *buffer, size_t length)
{
    assert(length <= buffer->capacity - buffer->length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
}

int buffer_append(struct buffer *buffer, const void *data, size_t length)
{
    char *to = buffer_reserve(buffer, length);
    if (!to)
        return buffer->error;
    if (length)
        memcpy(to, data, length);
    buffer_grew(buffer, length);
    return 0;
}

int buffer_text(struct buffer *buffer, const char *text)
{
    return buffer_append(buffer, text, strlen(text));
}

int buffer_format(struct buffer *buffer, const char *format, ...)
{
    va_list measure, print;
    va_start(measure, format);
    va_copy(print, measure);
    int length = vsnprintf(NULL, 0, format, measure);
    va_end(measure);
    int result = length < 0 ? buffer_fail(buffer, -EINVAL) : 0;
    char *to = result ? NULL : buffer_reserve(buffer, (size_t)length);
    if (to) {
        (void)vsnprintf(to, (size_t)length + 1, format, print);
        buffer_grew(buffer, (size_t)length);
    } else {
        result = buffer->error;
    }
    va_end(print);
    return result;
}

int buffer_error(const struct buffer *buffer)
{
    return buffer->error;
}

char *buffer_detach(struct buffer *buffer, size_t *ret_length)
{
    char *data = buffer->data;
    if (ret_length)
        *ret_length = buffer->length;
    buffer_init(buffer, buffer->max);
    return data;
}

int buffer_read(struct buffer *buffer, int fd)
{
    for (;;) {
        char *to = buffer_reserve(buffer, BUFFER_READ_SIZE);
        ssize_t n = to ? read(fd, to, BUFFER_READ_SIZE) : 0;
        if (n > 0)
            buffer_grew(buffer, (size_t)n);
        else if (n == 0)
            return buffer_error(buffer);
        else if (errno != EINTR)
            return -errno;
    }
}
