// Reading NAME.status (see status.h). The file may have been edited or damaged: libyaml gets a bounded input,
// aliases and deep nesting are refused, and whatever is not as promised is -EBADMSG.
#include "status_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

enum field_kind { FIELD_TEXT, FIELD_NUMBER, FIELD_TIME, FIELD_NAMED, FIELD_RECIPIENTS, FIELD_ATTEMPTS };

struct field {
    const char *key;
    enum field_kind kind;
    size_t offset;            // in the object that is filled
    const char *const *names; // FIELD_NAMED: the values of an enum, NULL at the end
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; // the current one
    bool has_event;
    int fd;
    size_t left;           // octets that may still be read
    int error;             // of read(2)
    struct status *status; // borrowed; where rows go
};

static const char *const states[] = {"deferred", "failed", NULL};
static const char *const reasons[] = {"none", "recipient", "policy", "size", "malformed", "expired", NULL};
static const char *const recipient_states[] = {"pending", "sent", "refused", NULL};
_Static_assert(
    STATUS_FAILED == 1 && STATUS_REASON_EXPIRED == 5 && STATUS_REFUSED == 2, "the names follow the enums");

// The top level. What is missing keeps the value that document_read set before.
struct document {
    struct status status;
    uint64_t version;
    uint64_t attempts_total;
    int state;
    int reason;
};

struct row {
    char *text[5];
    struct timespec at;
    int state;
};

static const struct field recipient_fields[] = {
    {"address", FIELD_TEXT, offsetof(struct row, text[0]), NULL},
    {"state", FIELD_NAMED, offsetof(struct row, state), recipient_states},
    {"reply", FIELD_TEXT, offsetof(struct row, text[1]), NULL},
    {"at", FIELD_TIME, offsetof(struct row, at), NULL},
    {NULL, FIELD_TEXT, 0, NULL},
};

static const struct field attempt_fields[] = {
    {"at", FIELD_TIME, offsetof(struct row, at), NULL},
    {"account", FIELD_TEXT, offsetof(struct row, text[0]), NULL},
    {"relay", FIELD_TEXT, offsetof(struct row, text[1]), NULL},
    {"tls", FIELD_TEXT, offsetof(struct row, text[2]), NULL},
    {"stage", FIELD_TEXT, offsetof(struct row, text[3]), NULL},
    {"reply", FIELD_TEXT, offsetof(struct row, text[4]), NULL},
    {NULL, FIELD_TEXT, 0, NULL},
};

#define OF_STATUS(member) offsetof(struct document, status.member)
static const struct field document_fields[] = {
    {"version", FIELD_NUMBER, offsetof(struct document, version), NULL},
    {"tenant", FIELD_TEXT, OF_STATUS(tenant), NULL},
    {"name", FIELD_TEXT, OF_STATUS(name), NULL},
    {"inode", FIELD_NUMBER, OF_STATUS(inode), NULL},
    {"size", FIELD_NUMBER, OF_STATUS(size), NULL},
    {"submitted", FIELD_TIME, OF_STATUS(submitted), NULL},
    {"born", FIELD_TIME, OF_STATUS(born), NULL},
    {"message_id", FIELD_TEXT, OF_STATUS(message_id), NULL},
    {"state", FIELD_NAMED, offsetof(struct document, state), states},
    {"next_attempt", FIELD_TIME, OF_STATUS(next_attempt), NULL},
    {"reason", FIELD_NAMED, offsetof(struct document, reason), reasons},
    {"detail", FIELD_TEXT, OF_STATUS(detail), NULL},
    {"fix", FIELD_TEXT, OF_STATUS(fix), NULL},
    {"recipients", FIELD_RECIPIENTS, 0, NULL},
    {"attempts", FIELD_ATTEMPTS, 0, NULL},
    {"attempts_total", FIELD_NUMBER, offsetof(struct document, attempts_total), NULL},
    {"delay_warned", FIELD_TIME, OF_STATUS(delay_warned), NULL},
    {"notified", FIELD_TIME, OF_STATUS(notified), NULL},
    {NULL, FIELD_TEXT, 0, NULL},
};

static void row_release(struct row *row)
{
    for (size_t i = 0; i < sizeof row->text / sizeof *row->text; i++)
        free(row->text[i]);
    *row = (struct row){.state = -1};
}

static int read_octets(void *data, unsigned char *buffer, size_t size, size_t *ret_read)
{
    struct reader *reader = data;
    ssize_t n = TEMP_FAILURE_RETRY(read(reader->fd, buffer, size));
    if (n < 0)
        reader->error = -errno;
    if (n < 0 || (size_t)n > reader->left)
        return 0;
    reader->left -= (size_t)n;
    *ret_read = (size_t)n;
    return 1;
}

// Moves on to the next event. Aliases could make a small file large, and no status has any.
static int next(struct reader *reader)
{
    if (reader->has_event)
        yaml_event_delete(&reader->event);
    reader->has_event = false;
    if (!yaml_parser_parse(&reader->parser, &reader->event)) {
        if (reader->error < 0)
            return reader->error;
        return reader->parser.error == YAML_MEMORY_ERROR ? -ENOMEM : -EBADMSG;
    }
    reader->has_event = true;
    return reader->event.type == YAML_ALIAS_EVENT ? -EBADMSG : 0;
}

static int expect(struct reader *reader, yaml_event_type_t type)
{
    int r = next(reader);
    return r < 0 ? r : reader->event.type == type ? 0 : -EBADMSG;
}

static bool opens(yaml_event_type_t type)
{
    return type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT;
}

// Skips the value that starts with the next event.
static int skip(struct reader *reader)
{
    int depth = 0;
    do {
        int r = next(reader);
        if (r < 0)
            return r;
        if (opens(reader->event.type))
            depth++;
        else if (reader->event.type != YAML_SCALAR_EVENT)
            depth--; // an end; inside a value nothing else comes
        if (depth > STATUS_DEPTH_MAX)
            return -EBADMSG;
    } while (depth > 0);
    return 0;
}

// The current scalar as text; NULL where it is no scalar or has a NUL inside.
static const char *scalar(const struct reader *reader)
{
    if (reader->event.type != YAML_SCALAR_EVENT)
        return NULL;
    const char *value = (const char *)reader->event.data.scalar.value;
    return strlen(value) == reader->event.data.scalar.length ? value : NULL;
}

static bool is_null(const struct reader *reader, const char *value)
{
    return reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (*value == 0 || strcmp(value, "~") == 0 || strcmp(value, "null") == 0);
}

int status_number_parse(const char *value, uint64_t *ret_number)
{
    char *end;
    if (*value < '0' || *value > '9')
        return -EBADMSG;
    errno = 0;
    unsigned long long n = strtoull(value, &end, 10);
    if (errno != 0 || *end != 0)
        return -EBADMSG;
    *ret_number = n;
    return 0;
}

static int store(struct reader *reader, const struct field *field, void *object)
{
    void *place = (char *)object + field->offset;
    const char *value = scalar(reader);
    if (value == NULL)
        return -EBADMSG;
    switch (field->kind) {
    case FIELD_TEXT:
        return status_set_text(place, is_null(reader, value) ? NULL : value);
    case FIELD_NUMBER:
        return status_number_parse(value, place);
    case FIELD_TIME:
        if (is_null(reader, value)) {
            *(struct timespec *)place = (struct timespec){0};
            return 0;
        }
        return status_time_parse(value, place) < 0 ? -EBADMSG : 0;
    default:
        for (int i = 0; field->names != NULL && field->names[i] != NULL; i++) {
            if (strcmp(value, field->names[i]) == 0) {
                *(int *)place = i;
                return 0;
            }
        }
        return -EBADMSG;
    }
}

static int read_rows(struct reader *reader, enum field_kind kind);

// Reads the pairs of a mapping whose start is the current event.
static int read_fields(struct reader *reader, const struct field *fields, void *object)
{
    for (;;) {
        int r = next(reader);
        if (r < 0 || reader->event.type == YAML_MAPPING_END_EVENT)
            return r;
        const char *key = scalar(reader);
        if (key == NULL)
            return -EBADMSG;
        const struct field *field = fields;
        while (field->key != NULL && strcmp(field->key, key) != 0)
            field++;
        if (field->key == NULL)
            r = skip(reader);
        else if (field->kind == FIELD_RECIPIENTS || field->kind == FIELD_ATTEMPTS)
            r = read_rows(reader, field->kind);
        else if ((r = next(reader)) == 0)
            r = store(reader, field, object);
        if (r < 0)
            return r;
    }
}

// Moves the texts of a row into the status.
static int add_row(struct status *status, enum field_kind kind, struct row *row)
{
    if (kind == FIELD_ATTEMPTS)
        return status_add_attempt(
            status, &row->at, row->text[0], row->text[1], row->text[2], row->text[3], row->text[4]);
    if (row->text[0] == NULL || row->state < 0)
        return -EBADMSG;
    int r = status_add_recipient(status, row->text[0]);
    if (r < 0)
        return r;
    return status_set_recipient(
        status, status->n_recipients - 1, (enum status_recipient_state)row->state, row->text[1], &row->at);
}

static int read_rows(struct reader *reader, enum field_kind kind)
{
    __attribute__((cleanup(row_release))) struct row row = {.state = -1};
    int r = expect(reader, YAML_SEQUENCE_START_EVENT);
    while (r == 0 && (r = next(reader)) == 0 && reader->event.type != YAML_SEQUENCE_END_EVENT) {
        if (reader->event.type != YAML_MAPPING_START_EVENT)
            return -EBADMSG;
        r = read_fields(reader, kind == FIELD_ATTEMPTS ? attempt_fields : recipient_fields, &row);
        if (r == 0)
            r = add_row(reader->status, kind, &row);
        row_release(&row);
    }
    return r;
}

static int read_document(struct reader *reader, struct document *document)
{
    static const yaml_event_type_t opening[] = {
        YAML_STREAM_START_EVENT, YAML_DOCUMENT_START_EVENT, YAML_MAPPING_START_EVENT};
    static const yaml_event_type_t closing[] = {YAML_DOCUMENT_END_EVENT, YAML_STREAM_END_EVENT};
    int r = 0;
    document->status.inode = document->status.size = UINT64_MAX;
    document->state = -1;
    for (size_t i = 0; i < sizeof opening / sizeof *opening && r == 0; i++)
        r = expect(reader, opening[i]);
    if (r == 0)
        r = read_fields(reader, document_fields, document);
    for (size_t i = 0; i < sizeof closing / sizeof *closing && r == 0; i++)
        r = expect(reader, closing[i]);
    if (r < 0)
        return r;
    if (document->version != 1 || document->status.inode == UINT64_MAX ||
        document->status.size == UINT64_MAX || document->state < 0)
        return -EBADMSG;
    document->status.state = (enum status_state)document->state;
    document->status.reason = (enum status_reason)document->reason;
    if (document->status.attempts_total < document->attempts_total)
        document->status.attempts_total = document->attempts_total;
    return 0;
}

int status_parse(int fd, struct status **ret_status)
{
    struct document document = {0};
    struct reader reader = {.fd = fd, .left = STATUS_FILE_MAX, .status = &document.status};
    struct status *status = status_new();
    if (status == NULL)
        return -ENOMEM;
    int r = yaml_parser_initialize(&reader.parser) ? 0 : -ENOMEM;
    if (r == 0) {
        yaml_parser_set_input(&reader.parser, read_octets, &reader);
        r = read_document(&reader, &document);
        if (reader.has_event)
            yaml_event_delete(&reader.event);
        yaml_parser_delete(&reader.parser);
    }
    *status = document.status;
    if (r < 0)
        status_free(status);
    else
        *ret_status = status;
    return r;
}

int status_read(int dir, const char *name, struct status **ret_status, struct timespec *ret_mtime,
    struct timespec *ret_ctime)
{
    struct stat st;
    int fd = status_open(dir, name, &st);
    if (fd < 0)
        return fd;
    int r = status_parse(fd, ret_status);
    close(fd);
    if (r < 0)
        return r;
    if (ret_mtime != NULL)
        *ret_mtime = st.st_mtim;
    if (ret_ctime != NULL)
        *ret_ctime = st.st_ctim;
    return 0;
}
