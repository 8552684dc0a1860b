// What the tests of concluding share: what a server said to a transaction, and what was made of it.
//
// Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_CONCLUDE_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_CONCLUDE_SUPPORT_H

#include "agent/delivery/conclude.h"
#include "delivery_support.h"

#define THREE "To: a@example.net, b@example.net, c@example.net\nSubject: three\n\nbody\n"
#define FIVE  "To: a@example.net, b@example.net, c@example.net, d@example.net, e@example.net\n\nbody\n"

#define WALL (2000000000 * CLOCK_SECOND) // when everything here happens

static const struct conclude_context context = {
    .account = "relay", .relay = "mail.example.com:25", .tls = "", .wall = WALL, .conn_use = 1};

static inline int set_up(void **state)
{
    return world_set_up(state, "retry: {first: 1m, max: 4h, give_up_after: 5d, jitter: 0}\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, world_tear_down)

// What a server says to one transaction.
#define RCPT_MAX 16

struct told {
    struct smtp_result result;
    struct smtp_reply replies[RCPT_MAX];
    const struct smtp_reply *recipients[RCPT_MAX];
};

// final: the reply that ended it, NULL: none. rcpt: of each wire recipient; the last one given counts for the
// rest too; NULL: none has one.
static inline void tell(struct told *told, const struct message *message, enum smtp_stage stage,
    const char *final, const char *const *rcpt, size_t n_rcpt)
{
    memset(told, 0, sizeof *told);
    told->result = (struct smtp_result){.mail = &message->mail,
        .stage = stage,
        .begun = true,
        .recipients = told->recipients,
        .xfer_ns = 21 * CLOCK_MS};
    if (final)
        assert_true(reply_parse(final, &told->result.final));
    for (size_t k = 0; rcpt && k < message->mail.n_recipients; k++) {
        const char *text = rcpt[k < n_rcpt ? k : n_rcpt - 1];
        if (!text)
            continue;
        assert_true(reply_parse(text, &told->replies[k]));
        told->recipients[k] = &told->replies[k];
    }
}

static inline struct conclusion conclude(struct message *message, const struct told *told)
{
    struct conclusion conclusion;
    assert_int_equal(conclude_result(message, &told->result, &context, &conclusion), 0);
    return conclusion;
}

// The server answers each RCPT and the end; one transaction.
#define ANSWER(message, final, ...)                                                                          \
    answer(message, SMTP_STAGE_FINAL, final, (const char *const[]){__VA_ARGS__},                             \
        sizeof(const char *const[]){__VA_ARGS__} / sizeof(char *))
static inline struct conclusion answer(
    struct message *message, enum smtp_stage stage, const char *final, const char *const *rcpt, size_t n_rcpt)
{
    struct told told;
    tell(&told, message, stage, final, rcpt, n_rcpt);
    return conclude(message, &told);
}

static inline const char *lines_of(const struct message *message)
{
    return message->lines.text.data ? message->lines.text.data : "";
}

static inline void has_line(const struct message *message, const char *what)
{
    if (!strstr(lines_of(message), what))
        fail_msg("no '%s' in:\n%s", what, lines_of(message));
}

static inline void lacks_line(const struct message *message, const char *what)
{
    if (strstr(lines_of(message), what))
        fail_msg("'%s' in:\n%s", what, lines_of(message));
}

static inline void filed_as(
    const struct message *message, struct conclusion conclusion, enum filing_action action)
{
    assert_int_equal(conclusion.next, CONCLUDE_FILE);
    assert_int_equal(message->filing, action);
}

#endif
