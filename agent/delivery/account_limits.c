// What an account may do now: its minute, its day, its connections, and its probe while the breaker is open.
#include "account.h"

#include <stdio.h>

// Hours of the boot clock, rounded down; they lie before 0 for what was sent before this boot.
static int64_t account_hour(int64_t boot)
{
    return boot / ACCOUNT_HOUR_NS - (boot % ACCOUNT_HOUR_NS < 0);
}

static bool account_hour_counts(const struct account_hour *slot, int64_t hour)
{
    return slot->hour > hour - ACCOUNT_HOURS && (slot->messages || slot->recipients);
}

void account_day(
    const struct account *account, int64_t boot, unsigned *ret_messages, unsigned *ret_recipients)
{
    uint64_t messages = 0, recipients = 0;
    for (size_t i = 0; i < ACCOUNT_HOURS; i++) {
        if (!account_hour_counts(&account->hours[i], account_hour(boot)))
            continue;
        messages += account->hours[i].messages;
        recipients += account->hours[i].recipients;
    }
    *ret_messages = messages < UINT32_MAX ? (unsigned)messages : UINT32_MAX;
    *ret_recipients = recipients < UINT32_MAX ? (unsigned)recipients : UINT32_MAX;
}

void account_day_add(struct account *account, uint32_t messages, uint32_t recipients, int64_t boot)
{
    int64_t hour = account_hour(boot), place = hour % ACCOUNT_HOURS;
    struct account_hour *slot = &account->hours[place < 0 ? place + ACCOUNT_HOURS : place];
    if (slot->hour != hour)
        *slot = (struct account_hour){.hour = hour};
    if (__builtin_add_overflow(slot->messages, messages, &slot->messages))
        slot->messages = UINT32_MAX;
    if (__builtin_add_overflow(slot->recipients, recipients, &slot->recipients))
        slot->recipients = UINT32_MAX;
}

// When the oldest hour that counts stops doing so.
static int64_t account_day_wait(const struct account *account, int64_t boot)
{
    int64_t oldest = INT64_MAX;
    for (size_t i = 0; i < ACCOUNT_HOURS; i++)
        if (account_hour_counts(&account->hours[i], account_hour(boot)) && account->hours[i].hour < oldest)
            oldest = account->hours[i].hour;
    return (oldest + ACCOUNT_HOURS) * ACCOUNT_HOUR_NS - boot;
}

unsigned account_recipients_left(const struct account *account, int64_t boot)
{
    unsigned messages, recipients, most = account->settings->limits.recipients_per_day;
    if (!most)
        return UINT32_MAX;
    account_day(account, boot, &messages, &recipients);
    return recipients < most ? most - recipients : 0;
}

static unsigned account_messages_left(const struct account *account, int64_t boot)
{
    unsigned messages, recipients, most = account->settings->limits.messages_per_day;
    if (!most)
        return UINT32_MAX;
    account_day(account, boot, &messages, &recipients);
    return messages < most ? most - messages : 0;
}

// When trouble of before lets the next connection be made.
static int64_t account_connect_at(const struct account *account)
{
    return account->connect_after > account->auth_after ? account->connect_after : account->auth_after;
}

static unsigned account_no(int64_t wait, int64_t *ret_wait)
{
    if (ret_wait)
        *ret_wait = wait;
    return 0;
}

// Why nothing may be sent for longer than a moment by our own count, and for how long; NULL where that is not
// so.
static const char *account_own_reason(
    const struct account *account, unsigned sessions, int64_t boot, int64_t *ret_wait)
{
    if (!account_messages_left(account, boot) || !account_recipients_left(account, boot)) {
        *ret_wait = account_day_wait(account, boot);
        return "the account's limit for a day is reached (messages_per_day, recipients_per_day)";
    }
    *ret_wait = account_connect_at(account) - boot;
    if (sessions > 0 || *ret_wait <= ACCOUNT_PATIENCE_NS)
        return NULL;
    return account->login_words[0] ? account->login_words : "logins are held back for a while";
}

enum account_change account_review(struct account *account, unsigned sessions, int64_t boot)
{
    int64_t wait = 0;
    if (account->breaker != BREAKER_CLOSED && !account->own)
        return ACCOUNT_SAME;
    const char *reason = account_own_reason(account, sessions, boot, &wait);
    bool before = account->own;
    account->own = reason != NULL;
    account->breaker = reason ? BREAKER_QUOTA : BREAKER_CLOSED;
    account->probe_at = reason ? boot + wait : 0;
    if (before == account->own)
        return ACCOUNT_SAME;
    account->fix = NULL;
    (void)snprintf(account->reason, sizeof account->reason, "%s", reason ? reason : "");
    return reason ? ACCOUNT_PAUSED : ACCOUNT_FREED;
}

unsigned account_allows(const struct account *account, int64_t boot, int64_t *ret_wait)
{
    bool open = account->breaker != BREAKER_CLOSED;
    if (open && account->probing)
        return account_no(INT64_MAX, ret_wait);
    if (open && boot < account->probe_at)
        return account_no(account->probe_at - boot, ret_wait);
    if (boot < account->hold_until)
        return account_no(account->hold_until - boot, ret_wait);
    unsigned most = account_messages_left(account, boot);
    unsigned recipients = account_recipients_left(account, boot);
    if (!most || !recipients)
        return account_no(account_day_wait(account, boot), ret_wait);
    uint64_t minute = bucket_available(&account->minute, boot);
    if (!minute)
        return account_no(bucket_wait(&account->minute, boot), ret_wait);
    if (open)
        return 1;
    // Each message has a recipient at least.
    most = recipients < most ? recipients : most;
    return minute < most ? (unsigned)minute : most;
}

void account_started(struct account *account, unsigned recipients, int64_t boot)
{
    bucket_take(&account->minute, 1, boot);
    account_day_add(account, 1, recipients, boot);
    account->changed = true;
    if (account->breaker != BREAKER_CLOSED)
        account->probing = true;
}

bool account_may_connect(const struct account *account, unsigned open, int64_t boot, int64_t *ret_wait)
{
    int64_t after = account_connect_at(account);
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
