// STATE/accounts.json: what of the accounts outlives the agent. Times in it are wall clock seconds; read
// back, a deadline counts for at most what the breaker allows, so that a clock that was wrong costs no more
// than that.
#include "account.h"
#include "agent/base/file.h"
#include "config/fd.h"
#include "retry.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACCOUNTS_FILE     "accounts.json"
#define ACCOUNTS_FILE_MAX (4 * 1024 * 1024) // octets
#define ACCOUNTS_VERSION  1

// Hours of another boot begin at other minutes: they are taken for the later hour, which is the safe one.
// Where they are the same but for what the wall clock was slewed by, they must not move, or frequent starts
// would keep them for ever.
#define STORED_SLACK_NS (600 * ACCOUNT_NS_SECOND)

static void json_drop(json_t **json)
{
    json_decref(*json);
}

// A server's words may hold any octets: what is not plain ASCII goes into the file as a question mark.
static json_t *json_words(const char *words)
{
    char plain[ACCOUNT_REASON_MAX];
    size_t i = 0;
    for (; i < sizeof plain - 1 && words[i]; i++)
        plain[i] = words[i] >= ' ' && words[i] <= '~' ? words[i] : '?';
    plain[i] = '\0';
    return json_string(plain);
}

// Hours by the wall clock second at which they began, so that another boot can count on.
static json_t *account_encode_hours(const struct account *account, int64_t boot, int64_t wall)
{
    json_t *hours = json_array();
    for (size_t i = 0; i < ACCOUNT_HOURS; i++) {
        const struct account_hour *slot = &account->hours[i];
        int64_t age = boot - slot->hour * ACCOUNT_HOUR_NS;
        if (age >= ACCOUNT_HOURS * ACCOUNT_HOUR_NS || !slot->messages)
            continue;
        json_array_append_new(hours, json_pack("[I,I,I]", (json_int_t)((wall - age) / ACCOUNT_NS_SECOND),
                                         (json_int_t)slot->messages, (json_int_t)slot->recipients));
    }
    return hours;
}

static json_t *account_encode(const struct account *account, int64_t boot, int64_t wall)
{
    json_t *json = json_object();
    json_object_set_new(json, "hours", account_encode_hours(account, boot, wall));
    // A server that was down may be up by the next start: that is not kept. What we counted ourselves follows
    // from the counts.
    if ((account->breaker != BREAKER_QUOTA && account->breaker != BREAKER_CREDENTIALS) || account->own)
        return json;
    int64_t probe_at = retry_clamp(account->probe_at, boot, ACCOUNT_PARK_MAX_NS) - boot + wall;
    json_object_set_new(json, "breaker", json_string(breaker_name(account->breaker)));
    json_object_set_new(json, "reason", json_words(account->reason));
    json_object_set_new(json, "fix", json_string(account->fix ? account->fix : ""));
    json_object_set_new(json, "at_login", json_boolean(account->at_login));
    json_object_set_new(json, "probe_at", json_integer(probe_at / ACCOUNT_NS_SECOND + 1));
    json_object_set_new(json, "probe_wait", json_integer(account->probe_wait / ACCOUNT_NS_SECOND));
    return json;
}

char *account_encode_all(struct account *const *accounts, size_t n, int64_t boot, int64_t wall)
{
    __attribute__((cleanup(json_drop))) json_t *root = json_object();
    json_t *members = json_object();
    json_object_set_new(root, "version", json_integer(ACCOUNTS_VERSION));
    if (json_object_set_new(root, "accounts", members))
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (json_object_set_new(members, accounts[i]->name, account_encode(accounts[i], boot, wall)))
            return NULL;
    return json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS);
}

int account_store(int state_fd, const char *text)
{
    return file_replace(state_fd, ACCOUNTS_FILE, text, strlen(text), 0600, FILE_DURABLE);
}

// What one member of the file says, checked before anything is applied.
struct stored {
    enum breaker breaker;
    const char *reason, *fix; // borrowed from the document, as are the hours
    bool at_login;
    int64_t probe_at, probe_wait; // seconds
    json_t *hours;
};

static int stored_hour(json_t *item, json_int_t *ret_began, uint32_t *ret_messages, uint32_t *ret_recipients)
{
    json_int_t messages, recipients;
    if (json_unpack(item, "[I,I,I!]", ret_began, &messages, &recipients) || messages < 0 ||
        messages > UINT32_MAX || recipients < 0 || recipients > UINT32_MAX)
        return -EBADMSG;
    *ret_messages = (uint32_t)messages;
    *ret_recipients = (uint32_t)recipients;
    return 0;
}

static int stored_read(json_t *json, struct stored *ret_stored)
{
    const char *breaker = NULL;
    json_int_t probe_at = 0, probe_wait = 0, began;
    int at_login = 0;
    uint32_t messages = 0, recipients = 0;
    *ret_stored = (struct stored){.reason = "", .fix = ""};
    if (json_unpack(json, "{s?s,s?s,s?s,s?b,s?I,s?I,s?o}", "breaker", &breaker, "reason", &ret_stored->reason,
            "fix", &ret_stored->fix, "at_login", &at_login, "probe_at", &probe_at, "probe_wait", &probe_wait,
            "hours", &ret_stored->hours))
        return -EBADMSG;
    ret_stored->at_login = at_login;
    ret_stored->probe_at = probe_at;
    ret_stored->probe_wait = probe_wait;
    if (breaker && !strcmp(breaker, breaker_name(BREAKER_QUOTA)))
        ret_stored->breaker = BREAKER_QUOTA;
    else if (breaker && !strcmp(breaker, breaker_name(BREAKER_CREDENTIALS)))
        ret_stored->breaker = BREAKER_CREDENTIALS;
    else if (breaker)
        return -EBADMSG;
    if (ret_stored->hours && !json_is_array(ret_stored->hours))
        return -EBADMSG;
    for (size_t i = 0; i < json_array_size(ret_stored->hours); i++)
        if (stored_hour(json_array_get(ret_stored->hours, i), &began, &messages, &recipients))
            return -EBADMSG;
    return 0;
}

// Seconds as ns; what no clock can mean becomes the latest there is.
static int64_t stored_ns(int64_t seconds)
{
    int64_t ns;
    if (__builtin_mul_overflow(seconds, ACCOUNT_NS_SECOND, &ns))
        return seconds < 0 ? 0 : INT64_MAX;
    return ns < 0 ? 0 : ns;
}

static void stored_apply_hours(json_t *hours, struct account *account, int64_t boot, int64_t wall)
{
    json_int_t began;
    uint32_t messages = 0, recipients = 0;
    for (size_t i = 0; i < json_array_size(hours); i++) {
        (void)stored_hour(json_array_get(hours, i), &began, &messages, &recipients);
        // What lies ahead was written under a clock that was wrong, or this one is: it counts as of now.
        int64_t age = wall - retry_clamp(stored_ns(began), 0, wall);
        if (age < ACCOUNT_HOURS * ACCOUNT_HOUR_NS)
            account_day_add(account, messages, recipients,
                age >= ACCOUNT_HOUR_NS ? boot - age + ACCOUNT_HOUR_NS - STORED_SLACK_NS : boot);
    }
}

static void stored_apply(const struct stored *stored, struct account *account, int64_t boot, int64_t wall)
{
    stored_apply_hours(stored->hours, account, boot, wall);
    if (stored->breaker == BREAKER_CLOSED)
        return;
    account->breaker = stored->breaker;
    (void)snprintf(account->reason, sizeof account->reason, "%s", stored->reason);
    account->fix = outcome_fix_find(stored->fix);
    account->at_login = stored->at_login;
    account->probe_wait = retry_clamp(stored_ns(stored->probe_wait), 0, ACCOUNT_PARK_MAX_NS);
    account->probe_at = boot;
    if (stored->breaker == BREAKER_QUOTA)
        account->probe_at += retry_clamp(stored_ns(stored->probe_at), wall, ACCOUNT_PARK_MAX_NS) - wall;
}

static int accounts_read(int state_fd, char **ret_text, size_t *ret_length)
{
    FD fd = openat(state_fd, ACCOUNTS_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat stat;
    if (fstat(fd, &stat))
        return -errno;
    if (!S_ISREG(stat.st_mode) || stat.st_size > ACCOUNTS_FILE_MAX)
        return -EBADMSG;
    size_t size = (size_t)stat.st_size, length = 0;
    char *text = malloc(size + 1);
    if (!text)
        return -ENOMEM;
    while (length < size) {
        ssize_t n = read(fd, text + length, size - length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = -errno;
            free(text);
            return error;
        }
        if (n == 0)
            break;
        length += (size_t)n;
    }
    *ret_text = text;
    *ret_length = length;
    return 0;
}

static int accounts_decode(
    const char *text, size_t length, struct account *const *accounts, size_t n, int64_t boot, int64_t wall)
{
    __attribute__((cleanup(json_drop))) json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    json_t *members = json_object_get(root, "accounts");
    if (json_integer_value(json_object_get(root, "version")) != ACCOUNTS_VERSION || !json_is_object(members))
        return -EBADMSG;
    // Twice: nothing is applied unless everything can be understood.
    for (int apply = 0; apply < 2; apply++) {
        for (size_t i = 0; i < n; i++) {
            struct stored stored;
            json_t *member = json_object_get(members, accounts[i]->name);
            if (!member)
                continue;
            int error = stored_read(member, &stored);
            if (error)
                return error;
            if (apply)
                stored_apply(&stored, accounts[i], boot, wall);
        }
    }
    return 0;
}

int account_load_all(int state_fd, struct account *const *accounts, size_t n, int64_t boot, int64_t wall)
{
    char *text = NULL;
    size_t length = 0;
    int error = accounts_read(state_fd, &text, &length);
    if (!error)
        error = accounts_decode(text, length, accounts, n, boot, wall);
    free(text);
    return error == -ENOENT ? 0 : error;
}
