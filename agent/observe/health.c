// One judgement of whether deliveries progress, for /healthz, status.json and the metrics alike.
#include "snapshot.h"

#include <inttypes.h>
#include <string.h>

#define NAMED_MAX 10 // accounts named in the words

static bool is_open(const struct observe_account *account)
{
    return strcmp(account->breaker, "closed") != 0;
}

// Whether it sends nothing now: of itself, or because its operator said so.
static bool is_paused(const struct observe_account *account)
{
    return is_open(account) || account->paused;
}

// What comes before any account: true where that is enough to say that nothing progresses.
static bool say_house(const struct snapshot *snapshot, struct buffer *words)
{
    if (snapshot->stopping)
        buffer_text(words, "the agent is stopping");
    else if (strcmp(snapshot->spool, "broken") == 0)
        buffer_text(words, "the spool's disk failed; nothing is claimed until the agent is started again");
    else if (strcmp(snapshot->spool, "ok") != 0)
        buffer_format(
            words, "the spool is %s; nothing is claimed until outcomes can be written", snapshot->spool);
    else if (snapshot->filing_stalled_s > OBSERVE_DESK_STALLED_S)
        buffer_format(words, "the filing desk has finished nothing for %" PRId64 " s: the spool's disk hangs",
            snapshot->filing_stalled_s);
    else
        return false;
    return true;
}

static bool say_stalled(const struct snapshot *snapshot, struct buffer *words)
{
    bool any = false;
    for (size_t i = 0; i < snapshot->n_accounts; i++) {
        const struct observe_account *account = &snapshot->accounts[i];
        if (is_open(account) || account->stalled_s <= OBSERVE_MAIL_STALLED_S)
            continue;
        buffer_format(words, "%saccount %s: mail waits and nothing has moved for %" PRId64 " s",
            any ? "; " : "", account->name, account->stalled_s);
        any = true;
    }
    return any;
}

static void say_open(const struct snapshot *snapshot, struct buffer *words, bool with_mail)
{
    size_t n = 0;
    for (size_t i = 0; i < snapshot->n_accounts; i++) {
        const struct observe_account *account = &snapshot->accounts[i];
        if (with_mail ? !is_open(account) || !account->has_mail : !is_paused(account))
            continue;
        if (++n > NAMED_MAX)
            continue;
        if (account->paused)
            buffer_format(words, "%s%s (by its operator)", n > 1 ? "; " : "", account->name);
        else
            buffer_format(words, "%s%s (%s%s%.200s)", n > 1 ? "; " : "", account->name, account->breaker,
                *account->reason ? ": " : "", account->reason);
    }
    if (n > NAMED_MAX)
        buffer_format(words, "; and %zu more", n - NAMED_MAX);
}

bool observe_health(const struct snapshot *snapshot, struct buffer *words)
{
    size_t paused = 0, wait_open = 0, wait_closed = 0;
    if (say_house(snapshot, words) || say_stalled(snapshot, words))
        return false;
    for (size_t i = 0; i < snapshot->n_accounts; i++) {
        const struct observe_account *account = &snapshot->accounts[i];
        paused += is_paused(account);
        wait_open += account->has_mail && is_open(account);
        wait_closed += account->has_mail && !is_open(account);
    }
    if (wait_open && !wait_closed) {
        buffer_text(words, "all mail that waits is for paused accounts: ");
        say_open(snapshot, words, true);
        return false;
    }
    buffer_text(words, paused ? "ok; paused: " : "ok");
    if (paused)
        say_open(snapshot, words, false);
    return true;
}
