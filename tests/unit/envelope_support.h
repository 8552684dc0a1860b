// What the tests of the envelope share: a bench whose account or message names the sender, and a message that
// is malformed. Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_ENVELOPE_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_ENVELOPE_SUPPORT_H

#include "compose_support.h"

static inline struct bench ready(enum config_envelope_from envelope_from)
{
    struct bench bench;
    bench_init(&bench);
    bench.account.envelope_from = envelope_from;
    return bench;
}

// bench holds pointers into itself: it is set right again after a copy.
static inline struct composed composed_from(struct bench *bench, const char *text)
{
    bench->tenants[0].account = bench->tenants[1].account = &bench->account;
    bench->config.tenants = bench->tenants;
    return compose(bench, text);
}

static inline void malformed(const char *text, const char *words)
{
    struct bench bench = ready(CONFIG_ENVELOPE_MESSAGE);
    struct composed composed = composed_from(&bench, text);
    fault_is(&composed, STATUS_REASON_MALFORMED, words);
    composed_release(&composed);
}

#endif
