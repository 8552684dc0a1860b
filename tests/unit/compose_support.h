// What the tests of composing share: a configuration made by hand, a message in a file of its own, and what
// came of it.
//
// Include it after <cmocka.h>. Everything is static inline and released by composed_release.
#ifndef OUTTRAY_TESTS_UNIT_COMPOSE_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_COMPOSE_SUPPORT_H

#include "agent/compose/outgoing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

// 2026-11-23T15:04:05.123456789Z: when every message here was submitted, unless a test says otherwise.
#define SUBMITTED_SECONDS 1795446245
#define SUBMITTED_DATE    "Mon, 23 Nov 2026 15:04:05 +0000"

struct bench { // what a test may change before it composes
    struct config_account account;
    struct config_tenant tenants[2];
    struct config config;
    const char *name;
    struct timespec submitted;
};

static inline void bench_init(struct bench *bench)
{
    static const char *const servers[] = {"mail.example.com"};
    memset(bench, 0, sizeof *bench);
    bench->account = (struct config_account){
        .name = "relay", .email = "noreply@example.com", .servers = servers, .n_servers = 1, .port = 587};
    bench->tenants[0] = (struct config_tenant){.name = "acme",
        .account = &bench->account,
        .from = "Acme Voicemail <voicemail@acme.example>",
        .from_rule = "tenant acme",
        .envelope_headers = true};
    bench->tenants[1] = (struct config_tenant){.name = "other",
        .account = &bench->account,
        .from = "Other <other@example.com>",
        .from_rule = "tenant other",
        .envelope_headers = true};
    bench->config = (struct config){.domain = "pbx.example.com",
        .accounts = &bench->account,
        .n_accounts = 1,
        .tenants = bench->tenants,
        .n_tenants = 2,
        .limits = {.message_size = 50 << 20, .header_size = 256 << 10, .recipients = 10000}};
    bench->name = "1764000000.M1P2.host";
    bench->submitted = (struct timespec){SUBMITTED_SECONDS, 123456789};
}

struct composed {
    int fd;
    int result;
    struct outgoing *outgoing; // NULL where it failed
    struct outgoing_fault fault;
    char *wire; // everything as it would go out in BDAT form, NUL-terminated
    size_t length;
};

static inline void read_wire(struct composed *composed)
{
    struct smtp_body_cursor cursor;
    const struct smtp_body *body = &composed->outgoing->body;
    size_t size = (size_t)body->size;
    composed->wire = malloc(size + 17);
    assert_non_null(composed->wire);
    smtp_body_start(&cursor);
    for (int64_t n = 1; n > 0; composed->length += (size_t)n) {
        n = smtp_body_read(
            body, &cursor, false, composed->wire + composed->length, size + 16 - composed->length);
        assert_true(n >= 0);
    }
    composed->wire[composed->length] = '\0';
    assert_int_equal(composed->length, size); // the size that was announced
}

static inline int make_file(const struct bench *bench, const void *data, size_t length, struct stat *ret_stat)
{
    int fd = memfd_create("message", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t done = 0; done < length;) {
        ssize_t n = write(fd, (const char *)data + done, length - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
    assert_int_equal(fstat(fd, ret_stat), 0);
    ret_stat->st_mtim = bench->submitted; // some kernels keep no nanoseconds for such files
    return fd;
}

static inline struct composed compose_data(const struct bench *bench, const void *data, size_t length)
{
    struct composed composed = {0};
    struct stat stat;
    composed.fd = make_file(bench, data, length, &stat);
    composed.result = outgoing_compose(&bench->config, &bench->tenants[0], bench->name, composed.fd, &stat,
        &composed.outgoing, &composed.fault);
    assert_true((composed.result == 0) == (composed.outgoing != NULL));
    if (composed.outgoing)
        read_wire(&composed);
    return composed;
}

static inline struct composed compose(const struct bench *bench, const char *text)
{
    return compose_data(bench, text, strlen(text));
}

static inline void composed_release(struct composed *composed)
{
    outgoing_free(composed->outgoing);
    free(composed->wire);
    close(composed->fd);
}

// The wire must be exactly this.
static inline void wire_is(const struct composed *composed, const char *expected)
{
    if (composed->result)
        fail_msg("%d %s", composed->result, composed->fault.detail);
    assert_string_equal(composed->wire, expected);
}

static inline size_t count(const char *text, const char *what)
{
    size_t n = 0;
    const char *end = text + strlen(text);
    for (const char *at = text; (at = memmem(at, (size_t)(end - at), what, strlen(what))); at++)
        n++; // not strstr(3): the sanitizer's measures all of the text each time
    return n;
}

static inline void wire_has(const struct composed *composed, const char *what)
{
    if (composed->result)
        fail_msg("%d %s", composed->result, composed->fault.detail);
    if (!strstr(composed->wire, what))
        fail_msg("no '%s' in:\n%s", what, composed->wire);
}

static inline void wire_lacks(const struct composed *composed, const char *what)
{
    if (composed->result)
        fail_msg("%d %s", composed->result, composed->fault.detail);
    if (strstr(composed->wire, what))
        fail_msg("'%s' in:\n%s", what, composed->wire);
}

static inline void fault_is(const struct composed *composed, enum status_reason reason, const char *words)
{
    if (composed->result != -EBADMSG)
        fail_msg("%d instead of a fault", composed->result);
    assert_int_equal(composed->fault.reason, reason);
    if (!strstr(composed->fault.detail, words))
        fail_msg("no '%s' in: %s", words, composed->fault.detail);
}

// "a@x b@y": the addresses of the recipients in their order.
static inline void recipients_are(const struct composed *composed, const char *expected)
{
    char text[4096] = "";
    if (composed->result)
        fail_msg("%d %s", composed->result, composed->fault.detail);
    for (size_t i = 0; i < composed->outgoing->n_recipients; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "",
            composed->outgoing->recipients[i].address);
    assert_string_equal(text, expected);
}

#endif
