// What the tests of claiming share: a spool with small limits, and claims of what lies in new/.
//
// Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_INTAKE_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_INTAKE_SUPPORT_H

#include "delivery_support.h"

#define TWO "To: a@example.net, b@example.net\nSubject: two\n\nbody\n"

static inline int set_up(void **state)
{
    return world_set_up(state, "limits: {message_size: 64k, header_size: 4k, recipients: 5}\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, world_tear_down)

static inline void claim_is(struct message *message, enum claim_result expected)
{
    if (message->claim != expected)
        fail_msg("%s: claim %d instead of %d, error %d, fault '%s'", message->claimed_name,
            (int)message->claim, (int)expected, message->error, message->fault ? message->fault->detail : "");
}

static inline struct message *claim_new(
    struct world *world, const char *name, bool sure, enum claim_result expected)
{
    struct message *message = claim(world, world->acme, SPOOL_NEW, name, sure);
    claim_is(message, expected);
    return message;
}

#endif
