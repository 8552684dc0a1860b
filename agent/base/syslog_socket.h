// Lines to syslog without waiting for it: one datagram each to /dev/log, or to what $OUTTRAY_SYSLOG names.
//
// syslog(3) of glibc blocks while the reader's queue is full; mail must not wait for a log. A datagram that
// cannot be sent now is dropped and the caller told. Not thread-safe: the log's lock guards it.
#ifndef OUTTRAY_AGENT_BASE_SYSLOG_SOCKET_H
#define OUTTRAY_AGENT_BASE_SYSLOG_SOCKET_H

#include <stddef.h>
#include <stdint.h>

#define SYSLOG_PATH         "/dev/log"
#define SYSLOG_DATAGRAM_MAX 8192 // octets; what is longer is cut: rsyslog would cut it there, too

struct syslog_socket {
    int fd;            // -1 while not connected
    int facility;      // -1: none
    int64_t connected; // clock_work of the last attempt; 0: none
};

void syslog_socket_init(struct syslog_socket *socket);
// Sends to that facility from now on; -1 closes. The socket is looked for again, whatever it was before.
void syslog_socket_set(struct syslog_socket *socket, int facility);
// One line without its end. priority is LOG_ERR … LOG_DEBUG. 0 or negative errno: the line is dropped.
int syslog_socket_send(struct syslog_socket *socket, int priority, const char *line, size_t length);

#endif
