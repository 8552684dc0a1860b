// A fast local SMTP receiver that throws mail away and counts it: what the benchmarks and long tests deliver
// to.
//
//   sink [--port N] [--threads N] [--no-pipelining] [--no-chunking] [--auth] [--duplicates]
//        [--tls CERTIFICATE KEY [--implicit-tls]] [--stamps FILE] [--statistics FILE] [--ledger FILE]
//
// It says "listening PORT" on standard output (port 0, the default, takes a free one), serves until SIGTERM
// or SIGINT, then writes what it counted as one line of JSON to FILE (default: standard output). SIGUSR1
// writes it and goes on. Each thread has its own epoll and its own listening socket. With --duplicates it
// remembers a hash of every Message-ID and counts those that come again; with --auth it offers and accepts
// any AUTH PLAIN or LOGIN; with --stamps FILE gets a line "MESSAGE-ID NS" for every message whose Message-ID
// begins with SINK_STAMP_ID: when (CLOCK_MONOTONIC) the first octet of its MAIL was read. With --ledger it
// answers as the addresses ask for and accounts for each message in FILE (see sink/ledger.h), on one thread.
// It trusts its client: it is for loopback.
#include "loopback.h"
#include "sink/dialogue.h"
#include "sink/ledger.h"

#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sys/epoll.h>

#define THREADS_MAX 16
#define READ_SIZE   (64 * 1024)
#define EVENTS_MAX  64

static struct sink_options options;
static struct sink_counts counts;
static SSL_CTX *tls_context;
static bool implicit_tls;

struct connection {
    int fd;
    SSL *tls;
    size_t written; // of the dialogue's replies
    bool blocked;   // waits to write them
    struct dialogue dialogue;
};

struct server {
    pthread_t thread;
    int epoll, listener;
    char buffer[READ_SIZE];
};

static void watch(int epoll, int what, struct connection *connection, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll, what, connection->fd, &event))
        die("epoll_ctl");
}

static void connection_free(struct connection *connection)
{
    if (connection->tls) {
        (void)SSL_shutdown(connection->tls);
        SSL_free(connection->tls);
    }
    close(connection->fd);
    dialogue_release(&connection->dialogue);
    free(connection);
    atomic_fetch_sub(&counts.open, 1);
}

static void connection_turn_to_tls(struct connection *connection)
{
    connection->dialogue.tls_next = false;
    connection->dialogue.tls = true;
    connection->tls = SSL_new(tls_context);
    if (!connection->tls || !SSL_set_fd(connection->tls, connection->fd))
        die("SSL_new");
    SSL_set_accept_state(connection->tls);
}

// Octets transferred, 0 where the other side is gone, -1 with EAGAIN where it has to wait.
static ssize_t tls_result(struct connection *connection, int result)
{
    if (result > 0)
        return result;
    int error = SSL_get_error(connection->tls, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    return 0;
}

static ssize_t connection_read(struct connection *connection, char *to, size_t size)
{
    if (connection->tls)
        return tls_result(connection, SSL_read(connection->tls, to, (int)size));
    return recv(connection->fd, to, size, 0);
}

static ssize_t connection_write(struct connection *connection, const char *from, size_t length)
{
    if (connection->tls)
        return tls_result(connection, SSL_write(connection->tls, from, (int)length));
    return send(connection->fd, from, length, MSG_NOSIGNAL);
}

// Writes the replies. False where the connection is over.
static bool connection_flush(struct server *server, struct connection *connection)
{
    struct dialogue *dialogue = &connection->dialogue;
    while (connection->written < dialogue->out_length) {
        ssize_t n = connection_write(
            connection, dialogue->out + connection->written, dialogue->out_length - connection->written);
        if (n > 0) {
            connection->written += (size_t)n;
            continue;
        }
        if (n == 0 || errno != EAGAIN)
            return false;
        if (!connection->blocked)
            watch(server->epoll, EPOLL_CTL_MOD, connection, EPOLLOUT);
        connection->blocked = true;
        return true;
    }
    connection->written = dialogue->out_length = 0;
    if (connection->blocked)
        watch(server->epoll, EPOLL_CTL_MOD, connection, EPOLLIN);
    connection->blocked = false;
    if (dialogue->quitting)
        return false;
    if (dialogue->tls_next)
        connection_turn_to_tls(connection);
    return true;
}

static bool connection_serve(struct server *server, struct connection *connection)
{
    if (connection->blocked && !connection_flush(server, connection))
        return false;
    // Until the socket is empty: a short read tells that, but for TLS, which hands out records.
    for (bool more = true; more && !connection->blocked;) {
        ssize_t n = connection_read(connection, server->buffer, sizeof server->buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            return false;
        more = connection->tls || n == (ssize_t)sizeof server->buffer;
        dialogue_feed(&connection->dialogue, server->buffer, (size_t)n);
        if (!connection_flush(server, connection))
            return false;
    }
    return true;
}

static void server_accept(struct server *server)
{
    int fd;
    while ((fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            die("calloc");
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        connection->fd = fd;
        dialogue_init(&connection->dialogue, &options, &counts);
        if (options.judge)
            ledger_connected(&connection->dialogue);
        uint64_t open = atomic_fetch_add(&counts.open, 1) + 1, most = atomic_load(&counts.open_most);
        while (open > most && !atomic_compare_exchange_weak(&counts.open_most, &most, open))
            continue;
        atomic_fetch_add(&counts.connections, 1);
        watch(server->epoll, EPOLL_CTL_ADD, connection, EPOLLIN);
        if (implicit_tls)
            connection_turn_to_tls(connection);
        dialogue_greet(&connection->dialogue);
        if (!connection_flush(server, connection))
            connection_free(connection);
    }
}

static void *server_run(void *arg)
{
    struct server *server = arg;
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int n = epoll_wait(server->epoll, events, EVENTS_MAX, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection)
                server_accept(server);
            else if (!connection_serve(server, connection))
                connection_free(connection);
        }
    }
    return NULL;
}

// A listening socket of its own for each thread; the kernel spreads connections over them.
static void server_listen(struct server *server, uint16_t *port)
{
    struct epoll_event event = {.events = EPOLLIN};
    server->listener = loopback_listen(port, SO_REUSEPORT);
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll < 0 || epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->listener, &event))
        die("epoll");
}

static void statistics(const char *file)
{
    if (options.stamps && fflush(options.stamps))
        die("stamps");
    FILE *out = loopback_statistics(file);
    double seconds = (double)(counts.last_ns - counts.first_ns) / 1e9;
    fprintf(out,
        "{\"messages\": %ju, \"recipients\": %ju, \"bytes\": %ju, \"connections\": %ju, "
        "\"connections_most\": %ju, "
        "\"commands\": %ju, \"duplicates\": %ju, \"errors\": %ju, \"first_ns\": %jd, \"last_ns\": %jd, "
        "\"seconds\": %.6f, \"cpu_seconds\": %.3f}\n",
        (uintmax_t)counts.messages, (uintmax_t)counts.recipients, (uintmax_t)counts.octets,
        (uintmax_t)counts.connections, (uintmax_t)counts.open_most, (uintmax_t)counts.commands,
        (uintmax_t)counts.duplicates, (uintmax_t)counts.errors, (intmax_t)counts.first_ns,
        (intmax_t)counts.last_ns, seconds, cpu_seconds());
    loopback_statistics_end(out);
}

static void tls_set_up(const char *certificate, const char *key)
{
    tls_context = SSL_CTX_new(TLS_server_method());
    if (!tls_context || SSL_CTX_use_certificate_chain_file(tls_context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "sink: cannot use %s with %s\n", certificate, key);
        exit(1);
    }
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {{"port", required_argument, NULL, 'p'},
        {"threads", required_argument, NULL, 't'}, {"no-pipelining", no_argument, NULL, 'P'},
        {"no-chunking", no_argument, NULL, 'C'}, {"auth", no_argument, NULL, 'a'},
        {"duplicates", no_argument, NULL, 'd'}, {"tls", required_argument, NULL, 'T'},
        {"implicit-tls", no_argument, NULL, 'I'}, {"stamps", required_argument, NULL, 'S'},
        {"statistics", required_argument, NULL, 's'}, {"ledger", required_argument, NULL, 'l'}, {0}};
    const char *file = NULL, *certificate = NULL, *ledger = NULL;
    unsigned threads = 1;
    uint16_t port = 0;
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        options.no_pipelining = options.no_pipelining || option == 'P';
        options.no_chunking = options.no_chunking || option == 'C';
        options.auth = options.auth || option == 'a';
        options.duplicates = options.duplicates || option == 'd';
        implicit_tls = implicit_tls || option == 'I';
        port = option == 'p' ? (uint16_t)number(optarg, 0, 65535) : port;
        threads = option == 't' ? number(optarg, 0, THREADS_MAX) : threads;
        certificate = option == 'T' ? optarg : certificate;
        file = option == 's' ? optarg : file;
        options.stamps = option == 'S' ? fopen(optarg, "w") : options.stamps;
        if (option == 'S' && !options.stamps)
            die(optarg);
        ledger = option == 'l' ? optarg : ledger;
        if (option == '?')
            return 64;
    }
    if (!threads || argc - optind != (certificate != NULL) || (implicit_tls && !certificate)) {
        fprintf(stderr, "sink: see the first lines of tests/bench/sink.c\n");
        return 64;
    }
    if (ledger) {
        options.judge = ledger_open(ledger);
        options.duplicates = true;
        threads = 1;
    }
    if (certificate)
        tls_set_up(certificate, argv[optind]);
    options.starttls = certificate && !implicit_tls;

    sigset_t signals;
    loopback_signals(&signals);
    static struct server servers[THREADS_MAX];
    for (unsigned i = 0; i < threads; i++)
        server_listen(&servers[i], &port);
    loopback_ready(port);
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&servers[i].thread, NULL, server_run, &servers[i]))
            die("pthread_create");
    for (int signal = 0; sigwait(&signals, &signal) == 0; statistics(file))
        if (signal != SIGUSR1)
            break;
    statistics(file);
    _exit(0);
}
