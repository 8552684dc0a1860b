// A TCP proxy on loopback that puts distance between a client and a server: every octet, in either direction,
// arrives a fixed time after it was read, however many there are.
//
//   delay --to PORT --one-way MS [--port N] [--statistics FILE]
//
// It says "listening PORT" on standard output, serves until SIGTERM or SIGINT, then writes one line of JSON
// to FILE (default: standard output); SIGUSR1 writes it and goes on.
//
// What it imitates: the delay, and the handshake's round trip (accept is immediate here, so the connection to
// the server is made a round trip and a half later, and a greeting arrives two round trips after the client's
// connect, as it would). What it does not: loss, bandwidth, slow start, segments: octets wait in memory, up
// to BUFFER_MAX for each direction of a connection, and the sender's kernel has them acknowledged at once.
// One thread; its CPU seconds, and by how much it was late, are in the statistics: where they are large, the
// figure measured through it is the proxy's.
#include "loopback.h"

#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#define READ_SIZE    (64 * 1024)
#define EVENTS_MAX   64
#define BUFFER_MAX   (64u << 20) // octets on their way in one direction of a connection
#define ONE_WAY_MAX  60000       // ms
#define LATE_BUCKETS 32          // by powers of two, in microseconds

struct connection;

// One end of a connection. What was read from it travels to the other one.
struct end {
    struct connection *connection;
    struct end *peer;
    int fd;         // -1: not connected yet, or closed
    uint32_t asked; // what epoll is asked for
    bool gone;      // it sent its end of file,
    bool shut;      // and the other one's was passed on to it
    size_t flying;  // octets read from the peer that were not written here yet
    struct chunk *arrived, **arrived_last;
};

struct connection {
    struct end client, server;
    size_t references; // chunks that still point here, and the connection itself
    bool closed;
    struct connection *next_dead;
};

enum kind { KIND_DATA, KIND_END, KIND_CONNECT };

struct chunk {
    struct chunk *next;
    struct end *to;
    int64_t due; // CLOCK_MONOTONIC ns
    enum kind kind;
    unsigned hops; // of KIND_CONNECT: one-way delays left
    size_t length, written;
    char data[];
};

static struct {
    int epoll, listener, signals;
    struct sockaddr_in server;
    int64_t one_way; // ns
    // All delays are the same, so one queue in order of reading is in order of arrival, too.
    struct chunk *flying, **flying_last;
    struct connection *dead; // freed when no event of this round can point to them
    uint64_t connections, open, open_most, octets, chunks, late[LATE_BUCKETS];
    int64_t late_most;
} proxy = {.flying_last = &proxy.flying};

static void connection_unref(struct connection *connection)
{
    if (--connection->references > 0)
        return;
    connection->next_dead = proxy.dead;
    proxy.dead = connection;
}

static void bury(void)
{
    for (struct connection *connection; (connection = proxy.dead);) {
        proxy.dead = connection->next_dead;
        free(connection);
    }
}

static void chunk_free(struct chunk *chunk)
{
    connection_unref(chunk->to->connection);
    free(chunk);
}

static void end_close(struct end *end)
{
    for (struct chunk *chunk; (chunk = end->arrived);) {
        end->arrived = chunk->next;
        chunk_free(chunk);
    }
    end->arrived_last = &end->arrived;
    if (end->fd >= 0)
        close(end->fd);
    end->fd = -1;
}

static void connection_close(struct connection *connection)
{
    if (connection->closed)
        return;
    connection->closed = true;
    end_close(&connection->client);
    end_close(&connection->server);
    proxy.open--;
    connection_unref(connection);
}

static void end_ask(struct end *end)
{
    uint32_t wanted = (!end->gone && end->peer->flying < BUFFER_MAX ? (uint32_t)EPOLLIN : 0) |
                      (end->arrived ? (uint32_t)EPOLLOUT : 0);
    if (end->fd < 0 || (end->gone && end->shut) || wanted == end->asked)
        return;
    struct epoll_event event = {.events = wanted, .data.ptr = end};
    if (epoll_ctl(proxy.epoll, EPOLL_CTL_MOD, end->fd, &event))
        die("epoll_ctl");
    end->asked = wanted;
}

static void end_open(struct end *end, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    end->fd = fd;
    end->asked = EPOLLIN;
    if (epoll_ctl(proxy.epoll, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl");
}

static void send_off(struct end *to, enum kind kind, unsigned hops, const char *data, size_t length)
{
    struct chunk *chunk = malloc(sizeof *chunk + length);
    if (!chunk)
        die("malloc");
    *chunk = (struct chunk){
        .to = to, .due = now_ns() + proxy.one_way, .kind = kind, .hops = hops, .length = length};
    if (length)
        memcpy(chunk->data, data, length);
    to->connection->references++;
    to->flying += length;
    *proxy.flying_last = chunk;
    proxy.flying_last = &chunk->next;
}

// Writes what has arrived, as far as the socket takes it.
static void end_write(struct end *end)
{
    for (struct chunk *chunk; (chunk = end->arrived);) {
        if (chunk->kind == KIND_END) {
            (void)shutdown(end->fd, SHUT_WR);
            end->shut = true;
            if (end->peer->shut) {
                connection_close(end->connection);
                return;
            }
        }
        while (chunk->written < chunk->length) {
            ssize_t n =
                send(end->fd, chunk->data + chunk->written, chunk->length - chunk->written, MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0 && errno == EAGAIN) {
                end_ask(end);
                return;
            }
            if (n < 0) {
                connection_close(end->connection);
                return;
            }
            chunk->written += (size_t)n;
            end->flying -= (size_t)n;
            proxy.octets += (size_t)n;
        }
        end->arrived = chunk->next;
        if (!end->arrived)
            end->arrived_last = &end->arrived;
        chunk_free(chunk);
    }
    end_ask(end);
    end_ask(end->peer);
}

static void end_read(struct end *end)
{
    static char buffer[READ_SIZE];
    for (;;) {
        ssize_t n = recv(end->fd, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            connection_close(end->connection);
            return;
        }
        end->gone = n == 0;
        send_off(end->peer, n ? KIND_DATA : KIND_END, 0, buffer, (size_t)n);
        if (n < (ssize_t)sizeof buffer || end->peer->flying >= BUFFER_MAX) {
            end_ask(end);
            return;
        }
    }
}

// The SYN has arrived.
static void server_connect(struct connection *connection)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    // On loopback this is done at once, or refused.
    if (connect(fd, (struct sockaddr *)&proxy.server, sizeof proxy.server)) {
        close(fd);
        connection_close(connection);
        return;
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK))
        die("fcntl");
    end_open(&connection->server, fd);
    end_write(&connection->server);
}

static void late_count(int64_t late)
{
    unsigned bucket = 0;
    for (int64_t us = late / 1000; us > 0 && bucket < LATE_BUCKETS - 1; us /= 2)
        bucket++;
    proxy.late[bucket]++;
    proxy.chunks++;
    if (late > proxy.late_most)
        proxy.late_most = late;
}

static void chunk_arrive(struct chunk *chunk, int64_t now)
{
    struct end *to = chunk->to;
    chunk->next = NULL;
    if (to->connection->closed) {
        chunk_free(chunk);
        return;
    }
    if (chunk->kind == KIND_CONNECT) {
        if (chunk->hops > 1)
            send_off(to, KIND_CONNECT, chunk->hops - 1, NULL, 0);
        else
            server_connect(to->connection);
        chunk_free(chunk);
        return;
    }
    late_count(now - chunk->due);
    *to->arrived_last = chunk;
    to->arrived_last = &chunk->next;
    if (to->fd >= 0 && to->arrived == chunk)
        end_write(to);
}

// Delivers all that is due; returns how long to sleep in ns, -1: nothing is on its way.
static int64_t deliver(void)
{
    for (struct chunk *chunk; (chunk = proxy.flying);) {
        int64_t now = now_ns();
        if (chunk->due > now)
            return chunk->due - now;
        proxy.flying = chunk->next;
        if (!proxy.flying)
            proxy.flying_last = &proxy.flying;
        chunk_arrive(chunk, now);
    }
    return -1;
}

static void accept_all(void)
{
    int fd;
    while ((fd = accept4(proxy.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            die("calloc");
        connection->references = 1;
        connection->client = (struct end){.connection = connection, .peer = &connection->server, .fd = -1};
        connection->server = (struct end){.connection = connection, .peer = &connection->client, .fd = -1};
        connection->client.arrived_last = &connection->client.arrived;
        connection->server.arrived_last = &connection->server.arrived;
        proxy.connections++;
        if (++proxy.open > proxy.open_most)
            proxy.open_most = proxy.open;
        end_open(&connection->client, fd);
        send_off(&connection->server, KIND_CONNECT, 3, NULL, 0);
    }
}

// The middle of the bucket of lateness that holds the given share of chunks, in microseconds.
static double late_quantile(double share)
{
    uint64_t seen = 0;
    unsigned bucket = 0;
    while (bucket < LATE_BUCKETS - 1 && (double)(seen += proxy.late[bucket]) < share * (double)proxy.chunks)
        bucket++;
    return bucket ? 0.75 * (double)(1u << bucket) : 0.5;
}

static void statistics(const char *file)
{
    FILE *out = loopback_statistics(file);
    fprintf(out,
        "{\"connections\": %ju, \"connections_most\": %ju, \"bytes\": %ju, \"chunks\": %ju, \"one_way_ms\": "
        "%.3f, "
        "\"late_us_median\": %.1f, \"late_us_p99\": %.1f, \"late_us_most\": %.1f, \"cpu_seconds\": %.3f}\n",
        (uintmax_t)proxy.connections, (uintmax_t)proxy.open_most, (uintmax_t)proxy.octets,
        (uintmax_t)proxy.chunks, (double)proxy.one_way / 1e6, late_quantile(0.5), late_quantile(0.99),
        (double)proxy.late_most / 1e3, cpu_seconds());
    loopback_statistics_end(out);
}

static void end_event(struct end *end, uint32_t events)
{
    struct connection *connection = end->connection;
    if (connection->closed)
        return;
    if (events & EPOLLOUT)
        end_write(end);
    if (connection->closed || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    if (!end->gone)
        end_read(end);
    else if (events & EPOLLERR)
        connection_close(connection);
    else if (epoll_ctl(proxy.epoll, EPOLL_CTL_DEL, end->fd, NULL)) // nothing will come from it any more
        die("epoll_ctl");
}

static void serve(const char *file)
{
    struct epoll_event events[EVENTS_MAX];
    for (;; bury()) {
        int64_t sleep = deliver();
        struct timespec time = {.tv_sec = sleep / 1000000000, .tv_nsec = sleep % 1000000000};
        int n = epoll_pwait2(proxy.epoll, events, EVENTS_MAX, sleep < 0 ? NULL : &time, NULL);
        if (n < 0 && errno != EINTR)
            die("epoll_pwait2");
        for (int i = 0; i < n; i++) {
            struct signalfd_siginfo signal;
            if (events[i].data.ptr == &proxy.listener) {
                accept_all();
            } else if (events[i].data.ptr == &proxy.signals) {
                if (read(proxy.signals, &signal, sizeof signal) != sizeof signal)
                    die("signalfd");
                statistics(file);
                if (signal.ssi_signo != SIGUSR1)
                    return;
            } else {
                end_event(events[i].data.ptr, events[i].events);
            }
        }
    }
}

static void watch(int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    if (fd < 0 || epoll_ctl(proxy.epoll, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl");
}

static void set_up(uint16_t *port, uint16_t to)
{
    sigset_t signals;
    proxy.server = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(to), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    proxy.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (proxy.epoll < 0)
        die("epoll_create1");
    proxy.listener = loopback_listen(port, SO_REUSEADDR);
    loopback_signals(&signals);
    proxy.signals = signalfd(-1, &signals, SFD_CLOEXEC);
    watch(proxy.listener, &proxy.listener);
    watch(proxy.signals, &proxy.signals);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"to", required_argument, NULL, 't'},
        {"one-way", required_argument, NULL, 'w'}, {"port", required_argument, NULL, 'p'},
        {"statistics", required_argument, NULL, 's'}, {0}};
    const char *file = NULL;
    uint16_t port = 0, to = 0;
    bool bad = false;
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        port = option == 'p' ? (uint16_t)number(optarg, 0, 65535) : port;
        to = option == 't' ? (uint16_t)number(optarg, 0, 65535) : to;
        proxy.one_way = option == 'w' ? (int64_t)number(optarg, 0, ONE_WAY_MAX) * 1000000 : proxy.one_way;
        file = option == 's' ? optarg : file;
        bad = bad || option == '?';
    }
    if (bad || !to || optind != argc) {
        fprintf(stderr, "usage: delay --to PORT --one-way MS [--port N] [--statistics FILE]\n");
        return 64;
    }
    set_up(&port, to);
    loopback_ready(port);
    serve(file);
    return 0;
}
