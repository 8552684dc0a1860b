// What the agent keeps of a tenant: shared directories that live as long as somebody uses them, and what was
// logged as ignored once.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "delivery_support.h"

static void a_new_tenant_has_nothing(void **state)
{
    (void)state;
    char name[] = "acme"; // a copy is kept
    struct tenant *tenant = tenant_new(name);
    assert_non_null(tenant);
    memset(name, 'x', 4);
    assert_string_equal(tenant->name, "acme");
    assert_null(tenant->settings);
    assert_null(tenant->dirs);
    assert_int_equal(tenant->watch_new, -1);
    assert_int_equal(tenant->watch_deferred, -1);
    assert_false(backlog_has_waiting(&tenant->backlog, INT64_MAX));
    tenant_free(tenant);
    tenant_free(NULL);
}

static void directories_live_until_the_last_user_lets_go(void **state)
{
    struct world *world = *state;
    struct tenant_dirs *dirs = tenant_dirs_ref(world->acme->dirs);
    int fd = dirs->spool->dir[SPOOL_NEW];
    struct message *message = claimed(world, world->acme, "m", PLAIN); // holds one too
    // The directory was replaced: the tenant gets a new struct.
    tenant_dirs_unref(world->acme->dirs);
    world->acme->dirs = NULL;
    tenant_dirs_unref(dirs);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    message_free(message);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
    tenant_dirs_unref(NULL);
}

static void an_ignored_entry_is_new_once(void **state)
{
    (void)state;
    struct tenant *tenant = tenant_new("acme");
    assert_true(tenant_note_ignored(tenant, "fifo"));
    assert_false(tenant_note_ignored(tenant, "fifo"));
    assert_true(tenant_note_ignored(tenant, "link"));
    assert_false(tenant_note_ignored(tenant, "fifo"));
    char name[32];
    unsigned logged = 2;
    for (unsigned i = 0; i < 10 * TENANT_IGNORED_MAX; i++) {
        (void)snprintf(name, sizeof name, "n%u", i);
        logged += tenant_note_ignored(tenant, name);
        assert_false(tenant_note_ignored(tenant, name)); // never twice, however many there are
    }
    assert_int_equal(logged, TENANT_IGNORED_MAX); // bounded, the log too
    tenant_free(tenant);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_tenant_has_nothing),
        WORLD_TEST(directories_live_until_the_last_user_lets_go),
        cmocka_unit_test(an_ignored_entry_is_new_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
