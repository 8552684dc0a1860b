// Who is alone among messages and status files: never a wrong no, but where hashes are equal, and few wrong
// yeses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/delivery/pairs.h"
#include <stdio.h>
#include <string.h>

static void add(struct pairs *pairs, bool status, unsigned number)
{
    char name[32];
    int length = snprintf(name, sizeof name, "17640%u.M%uP1.host", number, number);
    (status ? pairs_add_status : pairs_add_message)(pairs, name, (size_t)length);
}

static bool may_be_alone(const struct pairs *pairs, unsigned number)
{
    char name[32];
    int length = snprintf(name, sizeof name, "17640%u.M%uP1.host", number, number);
    return pairs_may_be_alone(pairs, name, (size_t)length);
}

static void nobody_is_alone_where_all_have_both(void **state)
{
    (void)state;
    enum { N = 20000 }; // more than there are slots
    struct pairs pairs;
    pairs_init(&pairs);
    assert_false(pairs_any_alone(&pairs));
    for (unsigned i = 0; i < N; i++)
        add(&pairs, i % 3 == 0, i);
    assert_true(pairs_any_alone(&pairs));
    for (unsigned i = N; i-- > 0;)
        add(&pairs, i % 3 != 0, i);
    assert_false(pairs_any_alone(&pairs));
    assert_false(may_be_alone(&pairs, 0));
    pairs_release(&pairs);
}

static void who_is_alone_may_be_and_few_besides(void **state)
{
    (void)state;
    enum { N = 20000, EVERY = 1000 };
    struct pairs pairs;
    pairs_init(&pairs);
    for (unsigned i = 0; i < N; i++) {
        add(&pairs, true, i);
        if (i % EVERY)
            add(&pairs, false, i);
    }
    unsigned suspected = 0;
    for (unsigned i = 0; i < N; i++) {
        assert_true(i % EVERY || may_be_alone(&pairs, i));
        suspected += may_be_alone(&pairs, i);
    }
    // Twenty slots of 4,096 hold about a hundred names.
    assert_in_range(suspected, N / EVERY, 300);
    pairs_release(&pairs);
}

static void all_are_found_where_each_is_alone(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct pairs pairs;
    pairs_init(&pairs);
    for (unsigned i = 0; i < N; i++)
        add(&pairs, true, i);
    for (unsigned i = 0; i < N; i++)
        assert_true(may_be_alone(&pairs, i));
    pairs_release(&pairs);
}

static void messages_without_a_status_hide_nobody(void **state)
{
    (void)state;
    struct pairs pairs;
    pairs_init(&pairs);
    for (unsigned i = 0; i < 5000; i++)
        add(&pairs, false, i);
    for (unsigned i = 5000; i < 5100; i++)
        add(&pairs, true, i);
    for (unsigned i = 5000; i < 5100; i++)
        assert_true(may_be_alone(&pairs, i));
    pairs_release(&pairs);
}

static void a_name_seen_twice_does_not_look_like_none(void **state)
{
    (void)state;
    struct pairs pairs;
    pairs_init(&pairs);
    add(&pairs, true, 7); // a directory that changes while it is read may show a name again
    add(&pairs, true, 7);
    assert_true(may_be_alone(&pairs, 7));
    pairs_release(&pairs);
}

// Hashes that are equal hide each other; the same name but for its case, its number or its end has another.
static void names_that_are_alike_are_told_apart(void **state)
{
    (void)state;
    static const char *const names[] = {"m", "M", "m~2", "m~3", "mm", "", "m\xff", "m.", ".m"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t j = 0; j < sizeof names / sizeof *names; j++) {
            struct pairs pairs;
            pairs_init(&pairs);
            pairs_add_status(&pairs, names[i], strlen(names[i]));
            pairs_add_message(&pairs, names[j], strlen(names[j]));
            assert_int_equal(pairs_any_alone(&pairs), i != j);
            assert_int_equal(pairs_may_be_alone(&pairs, names[i], strlen(names[i])), i != j);
            pairs_release(&pairs);
        }
}

static void without_memory_anybody_may_be_alone(void **state)
{
    (void)state;
    struct pairs pairs = {0};
    add(&pairs, true, 1);
    add(&pairs, false, 1);
    assert_true(pairs_any_alone(&pairs));
    assert_true(may_be_alone(&pairs, 1));
    pairs_release(&pairs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_alone_where_all_have_both),
        cmocka_unit_test(who_is_alone_may_be_and_few_besides),
        cmocka_unit_test(all_are_found_where_each_is_alone),
        cmocka_unit_test(messages_without_a_status_hide_nobody),
        cmocka_unit_test(a_name_seen_twice_does_not_look_like_none),
        cmocka_unit_test(names_that_are_alike_are_told_apart),
        cmocka_unit_test(without_memory_anybody_may_be_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
