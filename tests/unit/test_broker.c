// Packets with descriptors between the agent and its helper: what arrives, what is closed, and what is said
// where nobody answers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/broker.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

struct line {
    int end[2];
};

static int set_up(void **state)
{
    static struct line line;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line.end), 0);
    *state = &line;
    return 0;
}

static int tear_down(void **state)
{
    const struct line *line = *state;
    for (int i = 0; i < 2; i++)
        if (line->end[i] >= 0)
            close(line->end[i]);
    return 0;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static unsigned open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void one_descriptor_arrives(void **state)
{
    const struct line *line = *state;
    char text[8] = "";
    int passed;
    assert_int_equal(broker_give(line->end[0], "hello", 6, STDERR_FILENO), 6);
    assert_int_equal(broker_take(line->end[1], text, sizeof text, &passed), 6);
    assert_string_equal(text, "hello");
    assert_true(passed > STDERR_FILENO);
    assert_int_equal(fcntl(passed, F_GETFD), FD_CLOEXEC);
    close(passed);
    assert_int_equal(broker_give(line->end[0], "none", 5, -1), 5);
    assert_int_equal(broker_take(line->end[1], text, sizeof text, &passed), 5);
    assert_int_equal(passed, -1);
    assert_int_equal(broker_take(line->end[1], text, sizeof text, &passed), -EAGAIN);
}

// Whoever sends many at a time fills nobody's table of files.
static void more_are_closed(void **state)
{
    const struct line *line = *state;
    int many[32], passed;
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof many)];
    } control = {
        .head = {.cmsg_len = CMSG_LEN(sizeof many), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    char text[8] = "hello";
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof control.space};
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        many[i] = STDERR_FILENO;
    memcpy(CMSG_DATA(&control.head), many, sizeof many);
    unsigned before = open_files();
    assert_int_equal(sendmsg(line->end[0], &message, 0), sizeof text);
    assert_int_equal(broker_take(line->end[1], text, sizeof text, &passed), sizeof text);
    if (passed >= 0)
        close(passed);
    assert_int_equal(open_files(), before);
}

// Where there is no place for a descriptor, that is said; what comes later is taken as ever.
static void no_place_for_a_descriptor(void **state)
{
    struct line *line = *state;
    char text[8] = "";
    int passed, socket, next = dup(STDERR_FILENO);
    struct rlimit before, tight;
    struct broker_reply reply = {0};
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(broker_give(line->end[0], "lost", 5, STDERR_FILENO), 5);
    assert_int_equal(broker_give(line->end[0], &reply, sizeof reply, STDERR_FILENO), sizeof reply);
    assert_int_equal(broker_give(line->end[0], "none", 5, -1), 5);
    assert_int_equal(broker_give(line->end[0], "late", 5, STDERR_FILENO), 5);
    tight = (struct rlimit){.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int lost = broker_take(line->end[1], text, sizeof text, &passed);
    broker_answer(line->end[1], &reply, &socket);
    int none = broker_take(line->end[1], text, sizeof text, &passed);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(lost, -EMFILE);
    assert_int_equal(reply.error, -EMFILE);
    assert_int_equal(socket, -1);
    assert_non_null(strstr(reply.words, "too many open files"));
    assert_int_equal(none, 5);
    assert_string_equal(text, "none");
    assert_int_equal(broker_take(line->end[1], text, sizeof text, &passed), 5);
    assert_string_equal(text, "late");
    assert_true(passed >= 0);
    close(passed);
}

static void nobody_answers(void **state)
{
    struct line *line = *state;
    char words[BROKER_WORDS_MAX];
    struct broker_reply reply;
    int fd, socket;
    unsigned before = open_files();
    close(line->end[1]); // the helper died
    line->end[1] = -1;
    const struct broker none = {-1}, dead = {line->end[0]};
    const struct broker *const both[] = {&none, &dead};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(broker_load(both[i], words), -EPIPE);
        assert_non_null(strstr(words, "has ended"));
        assert_int_equal(broker_open(both[i], BROKER_FILE, "/etc/passwd"), -EPIPE);
        broker_use(both[i]);
        assert_int_equal(broker_connect(both[i], "localhost", 25, 1000, &fd), 0);
        struct pollfd ready = {fd, POLLIN, 0};
        assert_int_equal(poll(&ready, 1, 20000), 1); // it is told as any answer is
        broker_answer(fd, &reply, &socket);
        assert_int_equal(reply.error, -EPIPE);
        assert_int_equal(socket, -1);
        assert_non_null(strstr(reply.words, "has ended"));
        close(fd);
    }
    assert_int_equal(open_files(), before - 1);
}

static void who_dies_with_a_request_answers_so(void **state)
{
    struct line *line = *state;
    const struct broker broker = {line->end[0]};
    struct broker_reply reply;
    struct {
        struct broker_request request;
        char text[BROKER_TEXT_MAX];
    } packet;
    int fd, passed, socket;
    assert_int_equal(broker_connect(&broker, "mail.example.com", 2526, 5000, &fd), 0);
    assert_true(broker_take(line->end[1], &packet, sizeof packet, &passed) > 0);
    assert_int_equal(packet.request.kind, BROKER_CONNECT);
    assert_int_equal(packet.request.port, 2526);
    assert_int_equal(packet.request.timeout_ms, 5000);
    assert_string_equal(packet.text, "mail.example.com");
    close(passed); // as the kernel does
    broker_answer(fd, &reply, &socket);
    assert_int_equal(reply.error, -EPIPE);
    close(fd);
}

static void names_are_bounded(void **state)
{
    const struct line *line = *state;
    const struct broker broker = {line->end[0]};
    char path[BROKER_TEXT_MAX + 1];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(broker_open(&broker, BROKER_FILE, path), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_descriptor_arrives),
        TEST(more_are_closed),
        TEST(no_place_for_a_descriptor),
        TEST(nobody_answers),
        TEST(who_dies_with_a_request_answers_so),
        TEST(names_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
