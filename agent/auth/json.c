// Parsing and printing JSON with secrets in it.
#include "json.h"

#include <errno.h>
#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// jansson copies strings and grows its buffers by malloc and free: wiping what is freed leaves no copy
// behind.
static void json_free(void *memory)
{
    if (memory)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

// Before main and its threads, since jansson keeps the two functions in globals. They fit malloc(3) and
// free(3), so what json_dumps returns may be freed by either.
__attribute__((constructor)) static void json_secret_begin(void)
{
    json_set_alloc_funcs(malloc, json_free);
}

json_t *json_secret_parse(const char *text, size_t length)
{
    json_error_t error; // holds a piece of the text: never shown
    json_t *json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    explicit_bzero(&error, sizeof error);
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

void json_secret_drop(json_t **json)
{
    json_decref(*json);
}

static int json_append(const char *text, size_t length, void *out)
{
    return buffer_append(out, text, length);
}

int json_secret_print(const json_t *json, size_t flags, struct buffer *out)
{
    buffer_make_secret(out);
    if (!json)
        return -ENOMEM;
    if (json_dump_callback(json, json_append, out, flags))
        return buffer_error(out) ? buffer_error(out) : -EINVAL;
    return 0;
}

const char *json_secret_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

bool json_secret_number(const json_t *object, const char *key, int64_t *ret_number)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value)) {
        *ret_number = json_integer_value(value);
        return true;
    }
    double number;
    if (json_is_string(value)) {
        char *end;
        const char *text = json_string_value(value);
        number = strtod(text, &end);
        if (end == text || *end)
            return false;
    } else if (json_is_real(value)) {
        number = json_real_value(value);
    } else {
        return false;
    }
    if (!(fabs(number) < 9e18)) // neither infinite nor no number
        return false;
    *ret_number = (int64_t)number;
    return true;
}
