// X-Outtray-*: see controls.h.
#include "controls.h"

#include "key.h"
#include "mail_date.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORDS_MAX 100 // octets of a message's own text quoted in a fault

// The one value of a control, unfolded; NULL in *ret_text where there is none.
static int take(
    const struct fields *fields, enum field_kind kind, char **ret_text, struct outgoing_fault *ret_fault)
{
    size_t position = 0;
    const struct header_field *field = fields_next(fields, kind, &position);
    *ret_text = NULL;
    if (!field)
        return 0;
    if (fields->count[kind] > 1)
        return fault_set(ret_fault, STATUS_REASON_MALFORMED, "%s stands there %zu times",
            field_kind_name(kind), fields->count[kind]);
    *ret_text = header_unfold(field);
    return *ret_text ? 0 : -ENOMEM;
}

static int read_tenant(const struct config *config, const struct config_tenant *spool,
    const struct fields *fields, struct outgoing *outgoing, struct outgoing_fault *ret_fault)
{
    char *name = NULL;
    outgoing->tenant = spool;
    if (!spool->tenant_header)
        return 0;
    int r = take(fields, FIELD_TENANT, &name, ret_fault);
    if (r || !name)
        return r;
    outgoing->tenant = config_find_tenant(config, name);
    if (!outgoing->tenant)
        r = fault_set(
            ret_fault, STATUS_REASON_POLICY, "X-Outtray-Tenant: no tenant is called %.*s", WORDS_MAX, name);
    free(name);
    return r;
}

static int read_time(const struct fields *fields, enum field_kind kind, int64_t submitted, int64_t *ret_wall,
    struct outgoing_fault *ret_fault)
{
    char *text = NULL;
    int r = take(fields, kind, &text, ret_fault);
    if (r || !text)
        return r;
    if (mail_date_parse(text, submitted, ret_wall))
        r = fault_set(ret_fault, STATUS_REASON_MALFORMED,
            "%s is no time: %.*s (write Mon, 23 Nov 2026 15:04:05 +0000, 2026-11-23T15:04:05Z or +2h)",
            field_kind_name(kind), WORDS_MAX, text);
    else if (*ret_wall <= 0)
        *ret_wall = 1; // long ago, and not "none"
    free(text);
    return r;
}

static int read_priority(const struct fields *fields, bool *ret_high, struct outgoing_fault *ret_fault)
{
    char *text = NULL;
    int r = take(fields, FIELD_PRIORITY, &text, ret_fault);
    if (r || !text)
        return r;
    *ret_high = !strcasecmp(text, "high");
    if (!*ret_high && strcasecmp(text, "normal") && strcasecmp(text, "low"))
        r = fault_set(ret_fault, STATUS_REASON_MALFORMED,
            "X-Outtray-Priority is high, normal or low, not %.*s", WORDS_MAX, text);
    free(text);
    return r;
}

static int read_key(const struct fields *fields, struct outgoing *outgoing, struct outgoing_fault *ret_fault)
{
    int r = take(fields, FIELD_KEY, &outgoing->key, ret_fault);
    const char *problem = !r && outgoing->key ? key_problem(outgoing->key) : NULL;
    return problem ? fault_set(ret_fault, STATUS_REASON_MALFORMED, "X-Outtray-Key is no key: %s", problem)
                   : r;
}

int controls_read(const struct config *config, const struct config_tenant *spool, const struct fields *fields,
    int64_t submitted, struct outgoing *outgoing, struct outgoing_fault *ret_fault)
{
    int r = read_tenant(config, spool, fields, outgoing, ret_fault);
    if (!r)
        r = read_time(fields, FIELD_NOT_BEFORE, submitted, &outgoing->not_before, ret_fault);
    if (!r)
        r = read_time(fields, FIELD_EXPIRES, submitted, &outgoing->expires, ret_fault);
    if (!r)
        r = read_priority(fields, &outgoing->high_priority, ret_fault);
    if (!r)
        r = read_key(fields, outgoing, ret_fault);
    return r;
}
