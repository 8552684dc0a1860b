// A hostile server against the whole client: session.c, session_io.c, connect.c with libcurl underneath, the
// loop, the pipeline and the transactions, over a socket.
//
// socket(2) and connect(2) are ours here: a connection is one end of a socketpair, and the clock goes as the
// input says, so that neither ports nor waiting are needed. The input is a program for both ends: which
// extensions and logins there are, then steps that the loop takes one after the other between its rounds.
// The server's reader knows nothing of the agent's code. What must hold: the session ends in exactly one
// `closed`, every mail has exactly one `done` before it, what is written is SMTP with exactly the announced
// octets, and while the server answers in whole replies to commands that it has read, a recipient counts as
// served exactly where the server said so.
#include "agent/base/clock.h"
#include "agent/smtp/session.h"
#include "wire.h"

#include <sys/socket.h>
#include <sys/syscall.h>

#define MAILS      8
#define RECIPIENTS 3
#define STEPS_MAX  300
#define ROUNDS_MAX 4000

static struct play {
    const uint8_t *data;
    size_t size;
    struct loop *loop;
    struct multi *multi;
    struct smtp_session *session;
    const struct config_account *account;
    int client, server; // the ends of the socketpair; -1: none (any more)
    bool login, oauth, greeted;
    unsigned done, steps, rounds;
    bool closed, over;
    bool wild; // the server says what answers nothing: nobody can keep account of that
    struct wire wire;
} play;

// The clock of the session and its loop (instead of agent/base/clock.c).
static int64_t now_ns = 1000 * CLOCK_SECOND;
int64_t clock_boot(void)
{
    return now_ns;
}
int64_t clock_wall(void)
{
    return now_ns;
}
int64_t clock_work(void)
{
    return now_ns;
}
void clock_poll(void) {}
int clock_sleep_max_ms(void)
{
    return 0;
}
struct timespec clock_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / CLOCK_SECOND, .tv_nsec = ns % CLOCK_SECOND};
}
int64_t clock_ns(const struct timespec *time)
{
    return time->tv_sec * CLOCK_SECOND + time->tv_nsec;
}

// libcurl's sockets.
int socket(int domain, int type, int protocol)
{
    int pair[2];
    if (domain != AF_INET || (type & 0xf) != SOCK_STREAM)
        return (int)syscall(SYS_socket, domain, type, protocol);
    if (play.client >= 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
        return -1;
    play.client = pair[0];
    play.server = pair[1];
    return pair[0];
}
int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    return fd == play.client ? 0 : (int)syscall(SYS_connect, fd, address, length);
}

static unsigned next(void)
{
    if (play.size == 0)
        return 0;
    play.size--;
    return *play.data++;
}

static void hang_up(void)
{
    if (play.server >= 0)
        close(play.server);
    play.server = -1;
}

// Reads at most n octets of what the client wrote. A server that has lost the thread itself looks no more.
static void server_read(size_t n)
{
    static char buffer[16384];
    while (n > 0 && play.server >= 0) {
        ssize_t got = recv(play.server, buffer, n < sizeof buffer ? n : sizeof buffer, MSG_DONTWAIT);
        if (got <= 0)
            return;
        n -= (size_t)got;
        for (ssize_t i = 0; i < got && !play.wild; i++)
            wire_read(&play.wire, buffer[i]);
    }
}

static void server_write(const char *text, size_t length)
{
    if (play.server >= 0 && length)
        (void)!send(play.server, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Notes what a reply answers: the oldest command, which must have been read.
static void account_for(int code)
{
    if (!play.greeted)
        play.greeted = true;
    else if (play.wire.n_answered == play.wire.n_commands)
        play.wild = true;
    else
        wire_answer(&play.wire, code, play.wire.offset);
}

static void server_reply(const char *text)
{
    server_read(SIZE_MAX);
    if (!play.wild)
        account_for((int)strtoul(text, NULL, 10));
    server_write(text, strlen(text));
}

static const char *ehlo_reply(unsigned offers)
{
    static char text[512];
    (void)snprintf(text, sizeof text, "250-hostile\r\n%s%s%s%s%s%s250 HELP\r\n",
        offers & 1 ? "250-PIPELINING\r\n" : "", offers & 2 ? "250-CHUNKING\r\n" : "",
        offers & 4 ? "250-8BITMIME\r\n" : "", offers & 8 ? "250-AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2\r\n" : "",
        offers & 16 ? "250-SIZE 100000\r\n" : "", offers & 32 ? "250-SMTPUTF8\r\n250-DSN\r\n" : "");
    return text;
}

// What a well-behaved server says next; nothing where nobody has asked.
static void server_good(unsigned offers)
{
    server_read(SIZE_MAX);
    if (!play.greeted) {
        server_reply("220 hostile ESMTP\r\n");
        return;
    }
    if (play.wire.n_answered == play.wire.n_commands)
        return;
    static const char *const replies[] = {[WIRE_MAIL] = "250 2.1.0 ok\r\n",
        [WIRE_RCPT] = "250 2.1.5 ok\r\n",
        [WIRE_DATA] = "354 go\r\n",
        [WIRE_FINAL] = "250 2.0.0 taken\r\n"};
    enum wire_kind kind = play.wire.commands[play.wire.n_answered].kind;
    if (kind != WIRE_OTHER) {
        server_reply(replies[kind]);
        return;
    }
    // libcurl goes one command at a time until it hands over: EHLO (then, after a refusal, HELO), AUTH.
    if (play.wire.n_answered == 0) {
        play.wire.chunking = offers & 2;
        server_reply(ehlo_reply(offers));
    } else {
        server_reply(play.wire.current < 0 && play.login ? "235 2.7.0 in\r\n" : "250 ok\r\n");
    }
}

static void on_ready(struct smtp_session *session, void *arg)
{
    (void)arg;
    EXPECT(!play.closed && smtp_session_room(session) > 0);
    EXPECT(play.session == session);
}

static void on_done(struct smtp_session *session, const struct smtp_result *result, void *arg)
{
    (void)session, (void)arg;
    const struct wire *wire = &play.wire;
    EXPECT(!play.closed && play.done < wire->given && result->mail == &wire->mails[play.done]);
    const struct wire_seen *seen = &wire->seen[play.done++];
    server_read(SIZE_MAX);
    EXPECT(result->failure == SMTP_FAILURE_NONE || result->problem);
    for (unsigned i = 0; i < result->mail->n_recipients && !play.wild; i++) {
        bool sent = wire_is_sent(result, i);
        bool said = wire_said_yes(wire, seen, i) && seen->whole && !seen->empty;
        EXPECT(!sent || said);
        EXPECT(sent || !said || result->failure != SMTP_FAILURE_NONE);
    }
    if (result->may_be_accepted)
        EXPECT(result->failure != SMTP_FAILURE_NONE && result->begun);
}

static void on_closed(struct smtp_session *session, const struct smtp_closing *closing, void *arg)
{
    (void)session, (void)arg;
    EXPECT(!play.closed && play.done == play.wire.given);
    EXPECT(memchr(closing->problem, 0, sizeof closing->problem));
    EXPECT(closing->failure == SMTP_FAILURE_NONE || *closing->problem);
    play.closed = true;
}

static void make_mail(unsigned i)
{
    static const size_t lengths[] = {1, 40, 3000, 50000};
    static const char *const addresses[RECIPIENTS] = {"a@x", "b@y.example", "d@[192.0.2.1]"};
    unsigned choice = next();
    size_t length = lengths[choice % 4 == 3 && i > 0 ? 2 : choice % 4];
    struct smtp_mail *mail = wire_make_mail(&play.wire, i, length, choice & 0x40);
    for (unsigned j = 0; j < RECIPIENTS; j++)
        play.wire.recipients[i][j] = (struct smtp_recipient){.address = addresses[j]};
    mail->eight_bit = (choice & 0x30) == 0x30;
    mail->n_recipients = 1 + (choice >> 2) % RECIPIENTS;
}

static void hand_over(unsigned n)
{
    for (; n > 0 && play.wire.given < play.wire.n_mails && smtp_session_room(play.session) > 0; n--)
        smtp_session_send(play.session, &play.wire.mails[play.wire.given++]);
}

static void say_anything(unsigned n)
{
    n = n < play.size ? n : (unsigned)play.size;
    char *text = fuzz_text(play.data, n);
    play.data += n;
    play.size -= n;
    server_read(SIZE_MAX);
    play.wild = true;
    server_write(text, n);
    free(text);
}

static void special_step(unsigned argument)
{
    switch (argument % 8) {
    case 0:
        smtp_session_quit(play.session);
        break;
    case 1:
        hang_up();
        break;
    case 2:
        if (play.server >= 0)
            shutdown(play.server, SHUT_WR); // says no more, and goes on reading
        break;
    case 3: {
        const struct smtp_mail *mail = &play.wire.mails[next() % play.wire.n_mails];
        if (mail->body.fd < 0)
            break;
        play.wire.file_changed = true;
        EXPECT(ftruncate(mail->body.fd, (off_t)mail->body.file_length / 2) == 0);
        break;
    }
    case 4:
        if (argument >= 24)
            smtp_session_abort(play.session);
        break;
    case 5:
        say_anything(next());
        break;
    case 6:
        server_reply(ehlo_reply(argument | 1));
        play.wild = true;
        break;
    default: // a reply in pieces
        server_write("25", 2);
        play.wild = true;
        break;
    }
}

static void step(unsigned offers)
{
    static const char *const bad[] = {"550 5.1.1 no\r\n", "451 4.3.0 later\r\n", "503 5.5.1 order\r\n",
        "421 4.4.2 bye\r\n", "354 go\r\n", "250 ok\r\n", "500 what\r\n", "552 5.3.4 large\r\n",
        "250-a\r\n250 b\r\n", "554 5.7.1 none\r\n", "334 \r\n", "535 5.7.8 bad\r\n", "235 in\r\n",
        "432 busy\r\n", "502 5.5.1 no\r\n", "454 4.7.0 tls\r\n"};
    unsigned code = next(), argument = code >> 3;
    switch (code % 8) {
    case 0:
        hand_over(1 + argument);
        break;
    case 1:
    case 2:
        for (unsigned n = 1 + argument / 4; n > 0; n--)
            server_good(offers);
        break;
    case 3:
        server_read(SIZE_MAX);
        if (play.wire.n_answered == play.wire.n_commands && play.greeted)
            play.wild = true; // nobody asked
        server_reply(bad[argument % (sizeof bad / sizeof *bad)]);
        break;
    case 4:
        server_read(1 + (size_t)argument * argument * 20);
        break;
    case 5:
        now_ns += (int64_t)argument * argument * CLOCK_SECOND;
        break;
    case 6: // all goes well for a while
        hand_over(1);
        server_good(offers);
        break;
    case 7:
        special_step(argument);
        break;
    }
}

// Between two rounds of the loop. When the input is used up, the server hangs up, and the session must end.
static void direct(void *arg)
{
    unsigned offers = *(const unsigned *)arg;
    now_ns += CLOCK_MS;
    EXPECT(play.rounds++ < ROUNDS_MAX);
    if (play.closed) {
        loop_stop(play.loop);
        return;
    }
    if (play.client < 0 || play.rounds % 2) // libcurl takes a round by itself now and then
        return;
    if (play.size > 0 && play.steps++ < STEPS_MAX) {
        step(offers);
    } else if (play.server >= 0) {
        server_read(SIZE_MAX);
        hang_up();
    } else {
        now_ns += 700 * CLOCK_SECOND;
    }
    if (play.closed)
        loop_stop(play.loop);
}

static const struct config *load(void)
{
    static const char text[] =
        "version: 1\ndomain: pbx.example.com\naccounts:\n"
        "  a: {auth: none, email: a@example.com, server: 127.0.0.1, encryption: none}\n"
        "  b: {auth: none, email: a@example.com, server: 127.0.0.1, encryption: none, "
        "limits: {messages_per_connection: 3}}\n"
        "tenants:\n  acme: {account: a}\n";
    const struct config *config = NULL;
    struct config_findings findings = {0};
    char path[32];
    int fd = fuzz_file(text, sizeof text - 1);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    EXPECT(config_load(path, NULL, &config, &findings) == 0);
    config_findings_release(&findings);
    close(fd);
    return config;
}

static void play_begin(const struct config *config, unsigned choice)
{
    static char password[] = "secret";
    struct secret secret = {.text = password, .length = sizeof password - 1};
    play.wire.current = -1;
    play.wire.logs_in = true;
    play.client = play.server = -1;
    play.account = &config->accounts[choice & 1];
    play.login = choice & 2;
    play.oauth = (choice & 6) == 6;
    play.wire.n_mails = 1 + (choice >> 5) % MAILS;
    for (unsigned i = 0; i < play.wire.n_mails; i++)
        make_mail(i);
    struct smtp_session_params params = {.config = config,
        .account = play.account,
        .server = "127.0.0.1",
        .ehlo_name = "pbx.example.com",
        .username = play.login ? "user" : NULL,
        .secret = &secret,
        .oauth = play.oauth,
        .no_chunking = choice & 8,
        .window = choice & 16 ? 8 : 1,
        .events = {.ready = on_ready, .done = on_done, .closed = on_closed}};
    EXPECT(loop_new(&play.loop) == 0 && multi_new(play.loop, &play.multi) == 0);
    EXPECT(smtp_session_open(play.loop, play.multi, &params, &play.session) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct config *config;
    if (!config) {
        config = load();
        EXPECT(curl_global_init(CURL_GLOBAL_DEFAULT) == 0);
    }
    play = (struct play){.data = data, .size = size};
    unsigned choice = next(), offers = next();
    if (choice & 8)
        offers &= ~2u;
    play_begin(config, choice);
    (void)loop_run(play.loop, direct, &offers);
    EXPECT(play.closed && play.done == play.wire.given);
    smtp_session_free(play.session);
    multi_free(play.multi);
    loop_free(play.loop);
    hang_up();
    wire_release(&play.wire);
    return 0;
}
