// Standard input of `outtray submit`: read in pieces, ended by a lone dot where that is asked for,
// interruptible.
#ifndef OUTTRAY_AGENT_CLI_SUBMIT_INPUT_H
#define OUTTRAY_AGENT_CLI_SUBMIT_INPUT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define SUBMIT_READ_SIZE 65536 // octets asked for at once

enum submit_dot { SUBMIT_LINE_START, SUBMIT_IN_LINE, SUBMIT_DOT, SUBMIT_DOT_CR, SUBMIT_ENDED };

struct submit_input {
    int fd;
    bool ignore_dots;    // -i: a lone dot is text
    enum submit_dot dot; // where in a line we are
    sigset_t waiting;    // the signal mask while waiting for input
    char data[SUBMIT_READ_SIZE];
};

// SIGINT, SIGTERM and SIGHUP are blocked from here on, but while submit_input_read waits: so they can
// interrupt a submission that waits for input, and never one that is being committed.
void submit_input_init(struct submit_input *input, int fd, bool ignore_dots);

// Writes up to SUBMIT_READ_SIZE + 2 octets of the message into to. Returns how many, 0 at its end, -EINTR
// where a signal asks to stop, or read(2)'s error.
ssize_t submit_input_read(struct submit_input *input, char to[static SUBMIT_READ_SIZE + 2]);

#endif
