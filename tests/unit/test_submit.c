// The parts of `outtray submit`: the lone dot, the lines in front of a message, the file on its way into
// new/.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/cli/submit_file.h"
#include "agent/cli/submit_head.h"
#include "agent/cli/submit_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

// Sends text in packets of `piece` octets, each of which is one read, and returns what comes out.
static void filtered(const char *text, size_t piece, bool ignore_dots, const char *expected)
{
    static char to[SUBMIT_READ_SIZE + 2];
    struct submit_input *input = malloc(sizeof *input);
    int pair[2];
    char all[512] = "";
    size_t length = 0;
    ssize_t n;
    assert_non_null(input);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    for (size_t at = 0, left = strlen(text); left;
         at += piece < left ? piece : left, left = strlen(text) - at) {
        size_t send = piece < left ? piece : left;
        assert_int_equal(write(pair[1], text + at, send), send);
    }
    close(pair[1]);
    submit_input_init(input, pair[0], ignore_dots);
    while ((n = submit_input_read(input, to)) > 0) {
        assert_true(length + (size_t)n < sizeof all);
        memcpy(all + length, to, (size_t)n);
        length += (size_t)n;
    }
    assert_int_equal(n, 0);
    all[length] = '\0';
    assert_string_equal(all, expected);
    close(pair[0]);
    free(input);
}

static void test_a_lone_dot_ends_the_input(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"one\n.\ntwo\n", "one\n"},
        {"one\r\n.\r\ntwo\r\n", "one\r\n"},
        {".\nrest", ""},
        {"one\n..\n.two\n. \n.\n", "one\n..\n.two\n. \n"},
        {"one.\n.\r.\n.\nx", "one.\n.\r.\n"},
        {"no end", "no end"},
        {"one\n.", "one\n"},
        {"one\n.\r", "one\n"},
        {"a.\nb\n", "a.\nb\n"},
        {"\n\n.\n", "\n\n"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece < 8; piece++) {
            filtered(cases[i].text, piece, false, cases[i].expected);
            filtered(cases[i].text, piece, true, cases[i].text);
        }
}

static void test_a_signal_interrupts_waiting(void **state)
{
    (void)state;
    static char to[SUBMIT_READ_SIZE + 2];
    struct submit_input *input = malloc(sizeof *input);
    int pair[2];
    assert_non_null(input);
    assert_int_equal(pipe(pair), 0); // nobody ever writes
    submit_input_init(input, pair[0], false);
    assert_int_equal(kill(getpid(), SIGTERM), 0); // blocked until it waits
    assert_int_equal(submit_input_read(input, to), -EINTR);
    close(pair[0]);
    close(pair[1]);
    free(input);
}

static struct config_tenant tenant = {.name = "acme", .envelope_headers = true};
static const struct config config = {.domain = "pbx.example.com"};

// The start of the file for a message, with these arguments.
static void head(
    struct submit_envelope *envelope, const char *const *recipients, const char *text, const char *expected)
{
    struct header_block *block = NULL;
    struct buffer out;
    buffer_init(&out, 65536);
    envelope->config = &config;
    envelope->tenant = &tenant;
    for (; recipients && *recipients; recipients++)
        assert_null(submit_add_recipients(envelope, *recipients));
    assert_int_equal(header_block_parse(text, strlen(text), true, 65536, &block), 0);
    const char *problem = submit_head_append(envelope, block, text, strlen(text), &out);
    if (problem)
        fail_msg("%s", problem);
    assert_string_equal(out.data, expected);
    buffer_release(&out);
    header_block_free(block);
    submit_envelope_release(envelope);
}

#define RECIPIENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_recipients_travel_in_front(void **state)
{
    (void)state;
    head(&(struct submit_envelope){0}, NULL, "To: a@x.example\n\ntext\n", "To: a@x.example\n\ntext\n");
    head(&(struct submit_envelope){0}, RECIPIENTS("b@x.example", "root", "C <c@x.example>, d@x.example"),
        "To: a@x.example\n\ntext\n",
        "X-Receiver: <b@x.example>\nX-Receiver: <root@pbx.example.com>\nX-Receiver: "
        "<c@x.example>\nX-Receiver: <d@x.example>\n"
        "To: a@x.example\n\ntext\n");
    head(&(struct submit_envelope){.from_headers = true}, RECIPIENTS("b@x.example"),
        "To: a@x.example\nBcc: c@x.example\n\ntext\n",
        "X-Receiver: <b@x.example>\nX-Receiver: <a@x.example>\nX-Receiver: <c@x.example>\nTo: "
        "a@x.example\nBcc: c@x.example\n\ntext\n");
}

static void test_dsn_parameters_travel_in_front(void **state)
{
    (void)state;
    struct submit_envelope envelope = {
        .config = &config, .tenant = &tenant, .notify = "never", .ret = "hdrs"};
    assert_null(submit_set_sender(&envelope, "bob@x.example"));
    head(&envelope, RECIPIENTS("b@x.example"), "X-Sender: <s@x.example> ENVID=1\nTo: a@x.example\n\ntext\n",
        "X-Sender: <bob@x.example> RET=hdrs\nX-Receiver: <b@x.example> NOTIFY=never\nTo: "
        "a@x.example\n\ntext\n");
    head(&(struct submit_envelope){.notify = "delay", .envid = "q1"}, NULL,
        "X-Sender: <s@x.example>\nTo: a@x.example\nCc: c@x.example\n\ntext\n",
        "X-Sender: ENVID=q1\nX-Receiver: <a@x.example> NOTIFY=delay\nX-Receiver: <c@x.example> NOTIFY=delay\n"
        "X-Sender: <s@x.example>\nTo: a@x.example\nCc: c@x.example\n\ntext\n");
    head(&(struct submit_envelope){.notify = "delay", .from_headers = true}, NULL,
        "X-Receiver: <r@x.example>\nTo: a@x.example\n\ntext\n",
        "X-Receiver: <a@x.example> NOTIFY=delay\nTo: a@x.example\n\ntext\n");
}

static void test_a_message_without_header_gets_a_separator(void **state)
{
    (void)state;
    head(&(struct submit_envelope){0}, RECIPIENTS("b@x.example"), "just text\n",
        "X-Receiver: <b@x.example>\n\njust text\n");
    head(&(struct submit_envelope){0}, RECIPIENTS("b@x.example"), "\ntext\n",
        "X-Receiver: <b@x.example>\n\ntext\n");
    head(&(struct submit_envelope){0}, NULL, "just text\n", "just text\n");
}

static void test_an_mbox_line_does_not_end_our_lines(void **state)
{
    (void)state;
    head(&(struct submit_envelope){0}, RECIPIENTS("b@x.example"),
        "From jane Mon Nov 23 15:04:05 2026\nTo: a@x.example\n\ntext\n",
        "X-Receiver: <b@x.example>\nTo: a@x.example\n\ntext\n");
}

// Whoever calls sendmail with recipients means these and no others.
static void test_the_command_line_replaces_the_input_s_envelope(void **state)
{
    (void)state;
    const char *text = "X-Sender: <s@x.example>\nX-Receiver:\r\n <r@x.example>\r\nX-Outtray-Priority: "
                       "high\nX-RECEIVER: <q@x.example>\n"
                       "Subject: x\nX-Receiver: late\n\ntext\n";
    head(&(struct submit_envelope){0}, NULL, text, text);
    head(&(struct submit_envelope){0}, RECIPIENTS("b@x.example"), text,
        "X-Receiver: <b@x.example>\nX-Sender: <s@x.example>\nX-Outtray-Priority: high\nSubject: "
        "x\nX-Receiver: late\n\ntext\n");
    head(&(struct submit_envelope){.from_headers = true}, NULL, text,
        "X-Sender: <s@x.example>\nX-Outtray-Priority: high\nSubject: x\nX-Receiver: late\n\ntext\n");
    struct submit_envelope envelope = {.config = &config, .tenant = &tenant};
    assert_null(submit_set_sender(&envelope, "bob"));
    head(&envelope, RECIPIENTS("b@x.example"), "X-Sender: <s@x.example>\nX-Receiver: <r@x.example>\n\ntext\n",
        "X-Sender: <bob@pbx.example.com>\nX-Receiver: <b@x.example>\n\ntext\n");
}

static void test_the_sender_where_x_sender_does_not_count(void **state)
{
    (void)state;
    tenant.envelope_headers = false;
    struct submit_envelope envelope = {.config = &config, .tenant = &tenant};
    assert_null(submit_set_sender(&envelope, "<>"));
    head(&envelope, NULL, "To: a@x.example\n\ntext\n", "Return-Path: <>\nTo: a@x.example\n\ntext\n");
    tenant.envelope_headers = true;
}

static void test_a_full_name_makes_a_from_that_is_missing(void **state)
{
    (void)state;
    struct submit_envelope envelope = {.config = &config, .tenant = &tenant, .full_name = "Größe\nBcc: x"};
    assert_null(submit_set_sender(&envelope, "bob@x.example"));
    head(&envelope, RECIPIENTS("b@x.example"), "Subject: x\n\ntext\n",
        "X-Sender: <bob@x.example>\nX-Receiver: <b@x.example>\nFrom: =?utf-8?B?R3LDtsOfZSBCY2M6IHg=?= "
        "<bob@x.example>\r\nSubject: x\n\ntext\n");
    head(&(struct submit_envelope){.full_name = "Cron"}, NULL, "From: a@x.example\n\n",
        "From: a@x.example\n\n");
}

static void test_what_is_no_address(void **state)
{
    (void)state;
    static const char *const bad[] = {"a b@x.example", "a@x.example>",
        "a@x.example\nX-Receiver: <evil@x.example>", "a@", "@x.example", "\"a\x1b\"@x.example",
        "undisclosed:;", "a@x..example"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct submit_envelope envelope = {.config = &config, .tenant = &tenant};
        if (!submit_add_recipients(&envelope, bad[i]))
            fail_msg("%s", bad[i]);
        if (!submit_set_sender(&envelope, bad[i]))
            fail_msg("-f %s", bad[i]);
        submit_envelope_release(&envelope);
    }
}

struct box {
    char path[64];
    int spool;
};

static int make_box(void **state)
{
    struct box *box = calloc(1, sizeof *box);
    assert_non_null(box);
    (void)snprintf(box->path, sizeof box->path, "/tmp/outtray-test-submit.XXXXXX");
    assert_non_null(mkdtemp(box->path));
    box->spool = open(box->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    static const char *const directories[] = {"acme", "acme/tmp", "acme/new"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(mkdirat(box->spool, directories[i], 0700), 0);
    *state = box;
    return 0;
}

static int drop_box(void **state)
{
    struct box *box = *state;
    static const char *const directories[] = {"acme/tmp", "acme/new", "acme"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(
            unlinkat(box->spool, directories[i], AT_REMOVEDIR), 0); // empty: nothing was left behind
    close(box->spool);
    assert_int_equal(rmdir(box->path), 0);
    free(box);
    return 0;
}

static void test_a_file_is_in_new_once_it_is_committed(void **state)
{
    struct box *box = *state;
    struct submit_file file;
    enum submit_step step;
    char path[SPOOL_NAME_SIZE + 16];
    struct stat stat;
    mode_t old = umask(0077);
    assert_int_equal(submit_file_create(&file, box->spool, "acme", &step), 0);
    assert_true(spool_name_valid(file.name));
    assert_int_equal(submit_file_write(&file, "text", 4), 0);
    (void)snprintf(path, sizeof path, "acme/new/%s", file.name);
    assert_int_equal(fstatat(box->spool, path, &stat, 0), -1);
    assert_int_equal(submit_file_commit(&file), 0);
    umask(old);
    assert_int_equal(fstatat(box->spool, path, &stat, 0), 0);
    assert_int_equal(stat.st_mode & 07777, 0640);
    assert_int_equal(stat.st_size, 4);
    assert_int_equal(stat.st_nlink, 1);
    submit_file_release(&file);
    assert_int_equal(unlinkat(box->spool, path, 0), 0);
}

static void test_what_is_not_committed_is_gone(void **state)
{
    struct box *box = *state;
    struct submit_file file;
    enum submit_step step;
    assert_int_equal(submit_file_create(&file, box->spool, "acme", &step), 0);
    assert_int_equal(submit_file_write(&file, "text", 4), 0);
    submit_file_release(&file);
    assert_int_equal(submit_file_create(&file, box->spool, "nobody", &step), -ENOENT);
    assert_int_equal(step, SUBMIT_STEP_OPEN);
    submit_file_release(&file);
    assert_int_equal(symlinkat("acme", box->spool, "link"), 0);
    assert_int_equal(submit_file_create(&file, box->spool, "link", &step), -ENOTDIR);
    submit_file_release(&file);
    assert_int_equal(unlinkat(box->spool, "link", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lone_dot_ends_the_input), cmocka_unit_test(test_recipients_travel_in_front),
        cmocka_unit_test(test_dsn_parameters_travel_in_front),
        cmocka_unit_test(test_a_message_without_header_gets_a_separator),
        cmocka_unit_test(test_an_mbox_line_does_not_end_our_lines),
        cmocka_unit_test(test_the_command_line_replaces_the_input_s_envelope),
        cmocka_unit_test(test_the_sender_where_x_sender_does_not_count),
        cmocka_unit_test(test_a_full_name_makes_a_from_that_is_missing),
        cmocka_unit_test(test_what_is_no_address),
        cmocka_unit_test_setup_teardown(test_a_file_is_in_new_once_it_is_committed, make_box, drop_box),
        cmocka_unit_test_setup_teardown(test_what_is_not_committed_is_gone, make_box, drop_box),
        cmocka_unit_test(test_a_signal_interrupts_waiting), // last: the interruption is for good
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
