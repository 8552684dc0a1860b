// What an account may do now: its minute, its day, its connections, and its probe while the breaker is open.
#include "account.h"

#define HOUR_NS (3600 * ACCOUNT_NS_SECOND)

// Whether an hour of the ring still counts. Hours that lie ahead (the clock was set back) count: too little
// may be sent then, too much never.
static bool account_hour_counts(const struct account_hour *slot, int64_t hour)
{
    return slot->hour > hour - ACCOUNT_HOURS && (slot->messages || slot->recipients);
}

void account_day(
    const struct account *account, int64_t wall, unsigned *ret_messages, unsigned *ret_recipients)
{
    uint64_t messages = 0, recipients = 0;
    for (size_t i = 0; i < ACCOUNT_HOURS; i++) {
        if (!account_hour_counts(&account->hours[i], wall / HOUR_NS))
            continue;
        messages += account->hours[i].messages;
        recipients += account->hours[i].recipients;
    }
    *ret_messages = messages < UINT32_MAX ? (unsigned)messages : UINT32_MAX;
    *ret_recipients = recipients < UINT32_MAX ? (unsigned)recipients : UINT32_MAX;
}

static void account_day_add(struct account *account, unsigned recipients, int64_t wall)
{
    int64_t hour = wall / HOUR_NS;
    struct account_hour *slot = &account->hours[(uint64_t)hour % ACCOUNT_HOURS];
    // A slot of a later hour that shares this place, after the clock was set far back, keeps what it holds.
    if (!account_hour_counts(slot, hour))
        *slot = (struct account_hour){0};
    slot->hour = hour;
    slot->messages += slot->messages < UINT32_MAX;
    if (__builtin_add_overflow(slot->recipients, recipients, &slot->recipients))
        slot->recipients = UINT32_MAX;
    account->changed = true;
}

// When the oldest hour that counts stops doing so.
static int64_t account_day_wait(const struct account *account, int64_t wall)
{
    int64_t hour = wall / HOUR_NS, oldest = INT64_MAX;
    for (size_t i = 0; i < ACCOUNT_HOURS; i++)
        if (account_hour_counts(&account->hours[i], hour) && account->hours[i].hour < oldest)
            oldest = account->hours[i].hour;
    // Never longer than a day, however far ahead an hour lies: it is looked at again then.
    if (oldest > hour)
        return ACCOUNT_PARK_MAX_NS;
    return (oldest + ACCOUNT_HOURS) * HOUR_NS - wall;
}

unsigned account_recipients_left(const struct account *account, int64_t wall)
{
    unsigned messages, recipients, most = account->settings->limits.recipients_per_day;
    if (!most)
        return UINT32_MAX;
    account_day(account, wall, &messages, &recipients);
    return recipients < most ? most - recipients : 0;
}

static unsigned account_messages_left(const struct account *account, int64_t wall)
{
    unsigned messages, recipients, most = account->settings->limits.messages_per_day;
    if (!most)
        return UINT32_MAX;
    account_day(account, wall, &messages, &recipients);
    return messages < most ? most - messages : 0;
}

static unsigned account_no(int64_t wait, int64_t *ret_wait)
{
    if (ret_wait)
        *ret_wait = wait;
    return 0;
}

unsigned account_allows(const struct account *account, int64_t boot, int64_t wall, int64_t *ret_wait)
{
    bool open = account->breaker != BREAKER_CLOSED;
    if (open && account->probing)
        return account_no(INT64_MAX, ret_wait);
    if (open && boot < account->probe_at)
        return account_no(account->probe_at - boot, ret_wait);
    if (boot < account->hold_until)
        return account_no(account->hold_until - boot, ret_wait);
    unsigned most = account_messages_left(account, wall);
    unsigned recipients = account_recipients_left(account, wall);
    if (!most || !recipients)
        return account_no(account_day_wait(account, wall), ret_wait);
    uint64_t minute = bucket_available(&account->minute, boot);
    if (!minute)
        return account_no(bucket_wait(&account->minute, boot), ret_wait);
    if (open)
        return 1;
    // Each message has a recipient at least.
    most = recipients < most ? recipients : most;
    return minute < most ? (unsigned)minute : most;
}

void account_started(struct account *account, unsigned recipients, int64_t boot, int64_t wall)
{
    bucket_take(&account->minute, 1, boot);
    account_day_add(account, recipients, wall);
    if (account->breaker != BREAKER_CLOSED)
        account->probing = true;
}

bool account_may_connect(const struct account *account, unsigned open, int64_t boot, int64_t *ret_wait)
{
    int64_t after =
        account->connect_after > account->auth_after ? account->connect_after : account->auth_after;
    if (account->breaker != BREAKER_CLOSED) {
        if (open > 0)
            return account_no(INT64_MAX, ret_wait);
        if (!account->probing && account->probe_at > after)
            after = account->probe_at;
    }
    if (open >= account->connections)
        return account_no(INT64_MAX, ret_wait);
    if (boot < after)
        return account_no(after - boot, ret_wait);
    return true;
}
