// Claimed messages: what they hold on to, the lists they stand in, the status they get.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "delivery_support.h"

static void a_message_knows_what_its_entry_knew(void **state)
{
    struct world *world = *state;
    struct backlog_entry *entry = backlog_add_new(&world->acme->backlog, "m", true, true);
    entry->size = 5;
    entry->mtime = 6;
    struct message *message = message_new(world->config, world->acme, entry, world->log);
    assert_non_null(message);
    assert_ptr_equal(message->entry, entry);
    assert_ptr_equal(message->tenant, world->acme);
    assert_ptr_equal(message->route, world->acme);
    assert_ptr_equal(message->settings, world->acme->settings);
    assert_ptr_equal(message->dirs, world->acme->dirs);
    assert_int_equal(message->origin, SPOOL_NEW);
    assert_string_equal(message->name, "m");
    assert_string_equal(message->claimed_name, "m");
    assert_true(message->sure);
    assert_int_equal(message->seen_size, 5);
    assert_int_equal(message->seen_mtime, 6);
    assert_int_equal(message->fd, -1);
    assert_int_equal(message->status_in, SPOOL_STATES);
    assert_int_equal(message->attempt, 1);
    message_free(message);
    message_free(NULL);
    entry = backlog_add_deferred(&world->acme->backlog, "d", 77, 0, 1);
    message = message_new(world->config, world->acme, entry, world->log);
    assert_int_equal(message->origin, SPOOL_DEFERRED);
    assert_int_equal(message->recorded, 77);
    message_free(message);
}

static void the_longest_name_fits(void **state)
{
    struct world *world = *state;
    char name[SPOOL_NAME_SIZE];
    memset(name, 'n', sizeof name);
    memcpy(name + SPOOL_NAME_MAX, "~999999", 8);
    struct message *message = message_for(world, world->acme, SPOOL_NEW, name, true);
    assert_string_equal(message->name, name);
    assert_string_equal(message->claimed_name, name);
    message_free(message);
}

static void its_configuration_outlives_a_reload(void **state)
{
    struct world *world = *state;
    struct message *message = claimed(world, world->acme, "m", PLAIN);
    const struct config *other = world_config(world, "");
    config_unref(world->config);
    world->config = other;
    assert_string_equal(message->settings->name, "acme");
    assert_string_equal(message->settings->account->name, "relay");
    message_free(message);
}

static void lists_keep_their_order(void **state)
{
    struct world *world = *state;
    struct message_list list = {0};
    struct message *messages[4];
    for (int i = 0; i < 4; i++) {
        char name[8] = {(char)('a' + i), 0};
        messages[i] = message_for(world, world->acme, SPOOL_NEW, name, true);
    }
    assert_null(message_list_take(&list));
    message_list_prepend(&list, messages[1]);
    message_list_append(&list, messages[2]);
    message_list_prepend(&list, messages[0]);
    message_list_append(&list, messages[3]);
    assert_int_equal(list.n, 4);
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(message_list_take(&list), messages[i]);
    assert_null(message_list_take(&list));
    assert_int_equal(list.n, 0);
    message_list_append(&list, messages[2]); // usable again
    assert_ptr_equal(message_list_take(&list), messages[2]);
    for (int i = 0; i < 4; i++)
        message_free(messages[i]);
}

static void its_words_are_replaced_and_cut(void **state)
{
    struct world *world = *state;
    char text[STATUS_TEXT_MAX + 100];
    memset(text, 'w', sizeof text);
    text[sizeof text - 1] = '\0';
    struct message *message = claimed(world, world->acme, "m", PLAIN);
    assert_null(message->detail);
    message_set_detail(message, "%s of %d", "first", 2);
    assert_string_equal(message->detail, "first of 2");
    message_set_detail(message, "%s", text);
    assert_int_equal(strlen(message->detail), STATUS_TEXT_MAX - 1);
    message_free(message);
}

static void the_status_is_made_once_from_what_is_known(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", "To: a@example.net, b@example.net\nMessage-ID: <x@y>\n\nbody\n");
    set_mtime(world->acme, SPOOL_NEW, "m", 1764000000123456789);
    struct message *message = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(message->claim, CLAIM_READY);
    assert_int_equal(message_need_status(message), 0);
    struct status *status = message->status;
    assert_non_null(status);
    assert_string_equal(status->tenant, "acme");
    assert_string_equal(status->name, "m");
    assert_true(status->inode == message->stat.st_ino);
    assert_int_equal(status->size, message->stat.st_size);
    assert_true(clock_ns(&status->submitted) == 1764000000123456789);
    assert_string_equal(status->message_id, "<x@y>");
    assert_int_equal(status->n_recipients, 2);
    assert_string_equal(status->recipients[1].address, "b@example.net");
    assert_int_equal(status->recipients[1].state, STATUS_PENDING);
    assert_int_equal(status->n_attempts, 0);
    assert_int_equal(message_need_status(message), 0);
    assert_ptr_equal(message->status, status);
    message_free(message);
}

static void a_message_that_could_not_be_composed_gets_one_too(void **state)
{
    struct world *world = *state;
    put_in(world->acme, SPOOL_NEW, "m", "");
    struct message *message = claim(world, world->acme, SPOOL_NEW, "m", true);
    assert_int_equal(message->claim, CLAIM_FAULT);
    assert_int_equal(message_need_status(message), 0);
    assert_int_equal(message->status->n_recipients, 0);
    assert_true(message->status->inode == message->stat.st_ino);
    message_free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_message_knows_what_its_entry_knew),
        WORLD_TEST(the_longest_name_fits),
        WORLD_TEST(its_configuration_outlives_a_reload),
        WORLD_TEST(lists_keep_their_order),
        WORLD_TEST(its_words_are_replaced_and_cut),
        WORLD_TEST(the_status_is_made_once_from_what_is_known),
        WORLD_TEST(a_message_that_could_not_be_composed_gets_one_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
