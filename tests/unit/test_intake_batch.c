// Claiming in groups: every claim ends as it would alone, in order, and a quiet tenant's goes first.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "intake_support.h"

enum { MANY = 100 };

static struct {
    struct desk *desk;
    struct moves moves;
    struct desk_job *back[MANY + 2];
    unsigned n;
} office;

static void came_back(struct desk_job *job)
{
    assert_true(office.n < MANY + 2);
    office.back[office.n++] = job;
}

static bool all_back(struct world *world)
{
    (void)world;
    return desk_pending(office.desk) == 0;
}

static int open_office(void **state)
{
    int error = set_up(state);
    const struct world *world = *state;
    moves_init(&office.moves);
    office.n = 0;
    struct desk_params params = {
        .name = "intake", .loop = world->loop, .batch = intake_batch, .arg = &office.moves};
    return error ? error : desk_start(&params, &office.desk);
}

static int close_office(void **state)
{
    desk_stop(office.desk);
    moves_release(&office.moves);
    return world_tear_down(state);
}
#define OFFICE_TEST(name) cmocka_unit_test_setup_teardown(name, open_office, close_office)

static struct message *post(struct world *world, struct tenant *tenant, const char *name, bool express)
{
    struct message *message = message_for(world, tenant, SPOOL_NEW, name, true);
    message->express = express;
    message->job = (struct desk_job){.done = came_back};
    desk_post(office.desk, &message->job);
    return message;
}

static void end(struct message *message, enum claim_result expected)
{
    claim_is(message, expected);
    backlog_drop(&message->tenant->backlog, message->entry);
    message->entry = NULL;
    message_free(message);
}

static void each_claim_of_a_group_ends_as_it_would_alone(void **state)
{
    struct world *world = *state;
    struct message *messages[MANY];
    for (int i = 0; i < MANY; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%d", i);
        if (i % 10 != 3) // else it is gone by now
            put_in(world->acme, SPOOL_NEW, name, i % 10 == 5 ? "" : PLAIN);
        messages[i] = post(world, world->acme, name, false);
    }
    desk_flush(office.desk);
    world_run(world, all_back);
    assert_int_equal(office.n, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_ptr_equal(office.back[i], &messages[i]->job); // in the order in which they were posted
        bool gone = i % 10 == 3;
        assert_true((inode_in(world->acme, SPOOL_CUR, messages[i]->claimed_name) != 0) == !gone);
        end(messages[i], gone ? CLAIM_GONE : i % 10 == 5 ? CLAIM_FAULT : CLAIM_READY);
    }
    assert_int_equal(entries_in(world->acme, SPOOL_NEW), 0);
}

static void a_quiet_tenants_claim_does_not_wait_behind_a_backlog(void **state)
{
    struct world *world = *state;
    struct message *messages[MANY];
    for (int i = 0; i < MANY; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%d", i);
        put_in(world->acme, SPOOL_NEW, name, PLAIN);
        messages[i] = post(world, world->acme, name, false);
    }
    put_in(world->other, SPOOL_NEW, "quiet", PLAIN);
    struct message *quiet = post(world, world->other, "quiet", true);
    desk_flush(office.desk);
    world_run(world, all_back);
    assert_int_equal(office.n, MANY + 1);
    assert_ptr_equal(office.back[0], &quiet->job);
    end(quiet, CLAIM_READY);
    for (int i = 0; i < MANY; i++)
        end(messages[i], CLAIM_READY);
}

static void where_many_go_first_nobody_does(void **state)
{
    struct world *world = *state;
    struct message *messages[MANY];
    for (int i = 0; i < MANY; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "m%d", i);
        put_in(world->acme, SPOOL_NEW, name, PLAIN);
        messages[i] = post(world, world->acme, name, true);
    }
    desk_flush(office.desk);
    world_run(world, all_back);
    assert_int_equal(office.n, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_ptr_equal(office.back[i], &messages[i]->job);
        end(messages[i], CLAIM_READY);
    }
}

struct other {
    struct desk_job job; // first
    int runs;
};

static void run_other(struct desk_job *job)
{
    ((struct other *)job)->runs++;
}

static void other_jobs_are_run_among_claims(void **state)
{
    struct world *world = *state;
    struct other other = {.job = {.run = run_other, .done = came_back}};
    put_in(world->acme, SPOOL_NEW, "a", PLAIN);
    put_in(world->acme, SPOOL_NEW, "b", PLAIN);
    struct message *a = post(world, world->acme, "a", false);
    desk_post(office.desk, &other.job);
    struct message *b = post(world, world->acme, "b", false);
    desk_flush(office.desk);
    world_run(world, all_back);
    assert_int_equal(office.n, 3);
    assert_int_equal(other.runs, 1);
    end(a, CLAIM_READY);
    end(b, CLAIM_READY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OFFICE_TEST(each_claim_of_a_group_ends_as_it_would_alone),
        OFFICE_TEST(a_quiet_tenants_claim_does_not_wait_behind_a_backlog),
        OFFICE_TEST(where_many_go_first_nobody_does),
        OFFICE_TEST(other_jobs_are_run_among_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
