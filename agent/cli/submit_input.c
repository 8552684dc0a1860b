// Reading a message from standard input: see submit_input.h.
#include "agent/cli/submit_input.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    interrupted = number;
}

void submit_input_init(struct submit_input *input, int fd, bool ignore_dots)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = interrupt};
    sigset_t block;
    *input = (struct submit_input){.fd = fd, .ignore_dots = ignore_dots, .dot = SUBMIT_LINE_START};
    sigemptyset(&action.sa_mask);
    sigemptyset(&block);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction old;
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue; // nohup(1) and the like want it ignored
        (void)sigaction(numbers[i], &action, NULL);
        sigaddset(&block, numbers[i]);
    }
    (void)sigprocmask(SIG_BLOCK, &block, &input->waiting);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigismember(&block, numbers[i]) == 1)
            (void)sigdelset(&input->waiting, numbers[i]); // whoever started us may have blocked them
}

// Copies data until a line that is a lone dot. A dot at the start of a line is held back until what follows
// tells what it is. Returns the octets written.
static size_t copy_until_dot(struct submit_input *input, const char *data, size_t length, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < length && input->dot != SUBMIT_ENDED;) {
        char c = data[i];
        if (input->dot == SUBMIT_IN_LINE) {
            const char *end = memchr(data + i, '\n', length - i);
            size_t run = end ? (size_t)(end - data) + 1 - i : length - i;
            memcpy(to + n, data + i, run);
            n += run;
            i += run;
            input->dot = end ? SUBMIT_LINE_START : SUBMIT_IN_LINE;
        } else if (input->dot == SUBMIT_LINE_START && c == '.') {
            input->dot = SUBMIT_DOT;
            i++;
        } else if (input->dot == SUBMIT_LINE_START) {
            input->dot = SUBMIT_IN_LINE;
        } else if (c == '\n') {
            input->dot = SUBMIT_ENDED;
        } else if (input->dot == SUBMIT_DOT && c == '\r') {
            input->dot = SUBMIT_DOT_CR;
            i++;
        } else {
            to[n++] = '.';
            if (input->dot == SUBMIT_DOT_CR)
                to[n++] = '\r';
            input->dot = SUBMIT_IN_LINE;
        }
    }
    return n;
}

static ssize_t wait_and_read(struct submit_input *input)
{
    struct pollfd poll = {.fd = input->fd, .events = POLLIN};
    for (;;) {
        int ready = ppoll(&poll, 1, NULL, &input->waiting);
        if (interrupted)
            return -EINTR;
        if (ready < 0 && errno != EINTR)
            return -errno;
        ssize_t n = ready > 0 ? read(input->fd, input->data, sizeof input->data) : -1;
        if (n >= 0)
            return n;
        if (ready > 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
    }
}

ssize_t submit_input_read(struct submit_input *input, char to[static SUBMIT_READ_SIZE + 2])
{
    while (input->dot != SUBMIT_ENDED) {
        ssize_t n = wait_and_read(input);
        if (n <= 0)
            return n; // a dot held back at the end of input is a lone dot without its line end
        if (input->ignore_dots) {
            memcpy(to, input->data, (size_t)n);
            return n;
        }
        size_t written = copy_until_dot(input, input->data, (size_t)n, to);
        if (written)
            return (ssize_t)written;
    }
    return 0;
}
