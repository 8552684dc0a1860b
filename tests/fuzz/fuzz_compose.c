// From the file of a message to the octets on the wire: whatever the file holds, what goes out is CRLF lines
// of exactly the announced size, with one From, and without what must not leave the house. The first octet
// chooses between configurations.
#include "agent/compose/outgoing.h"
#include "fuzz.h"

struct wire {
    char *text;
    size_t length;
};

static struct wire read_wire(const struct smtp_body *body, bool stuff, size_t piece)
{
    struct smtp_body_cursor cursor;
    size_t size = 2 * (size_t)body->size + 512; // and room for any piece
    struct wire wire = {malloc(size), 0};
    EXPECT(wire.text);
    smtp_body_start(&cursor);
    for (;;) {
        EXPECT(wire.length + piece <= size);
        int64_t n = smtp_body_read(body, &cursor, stuff, wire.text + wire.length, piece);
        EXPECT(n >= 0 && (size_t)n <= piece);
        if (n == 0)
            break;
        wire.length += (size_t)n;
    }
    return wire;
}

// What a server makes of the stuffed form is the other one.
static void check_stuffing(const struct smtp_body *body, const struct wire *plain)
{
    struct wire stuffed = read_wire(body, true, 32);
    size_t at = 0;
    bool line_start = true;
    for (size_t i = 0; i < stuffed.length; i++) {
        if (line_start && stuffed.text[i] == '.') {
            EXPECT(i + 1 < stuffed.length && stuffed.text[i + 1] == '.');
            i++;
        }
        EXPECT(at < plain->length && plain->text[at] == stuffed.text[i]);
        at++;
        line_start = stuffed.text[i] == '\n';
    }
    EXPECT(at == plain->length);
    free(stuffed.text);
}

static bool line_is(const char *line, size_t length, const char *name)
{
    size_t n = strlen(name);
    if (length < n || strncasecmp(line, name, n) != 0)
        return false;
    while (n < length && (line[n] == ' ' || line[n] == '\t'))
        n++;
    return n < length && line[n] == ':';
}

static void check_head(const struct wire *wire)
{
    unsigned n_from = 0, n_date = 0, n_id = 0;
    const char *line = wire->text, *end = wire->text + wire->length;
    while (line < end) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        EXPECT(next);
        size_t length = (size_t)(next - line) - 1;
        if (length == 0)
            break;
        n_from += line_is(line, length, "From");
        n_date += line_is(line, length, "Date");
        n_id += line_is(line, length, "Message-ID");
        static const char *const private[] = {"Bcc", "Resent-Bcc", "Return-Path", "X-Sender", "X-Receiver"};
        for (size_t i = 0; i < sizeof private / sizeof *private; i++)
            EXPECT(!line_is(line, length, private[i]));
        EXPECT(length < 10 || strncasecmp(line, "X-Outtray-", 10) != 0);
        line = next + 1;
    }
    EXPECT(line < end); // the empty line is there
    EXPECT(n_from == 1 && n_date >= 1 && n_id == 1);
}

static void check_envelope(const struct outgoing *outgoing)
{
    EXPECT(outgoing->n_recipients > 0);
    EXPECT(!*outgoing->envelope_from || !address_problem(outgoing->envelope_from));
    for (size_t i = 0; i < outgoing->n_recipients; i++) {
        const struct outgoing_recipient *recipient = &outgoing->recipients[i];
        if (!recipient->problem)
            EXPECT(!address_problem(recipient->wire));
        EXPECT(!recipient->notify || !strpbrk(recipient->notify, "\r\n <>"));
        EXPECT(!recipient->orcpt || !strpbrk(recipient->orcpt, "\r\n <>"));
    }
    EXPECT(!outgoing->ret || !strpbrk(outgoing->ret, "\r\n <>"));
    EXPECT(!outgoing->envid || !strpbrk(outgoing->envid, "\r\n <>"));
    EXPECT(outgoing->message_id && !strpbrk(outgoing->message_id, "\r\n"));
}

// Kept for the life of the process: read-only and the same for every input.
static const struct config *load(void)
{
    static const char text[] =
        "version: 1\ndomain: pbx.example.com\naccounts:\n"
        "  relay: {auth: none, email: noreply@example.com, server: mail.example.com}\n"
        "  open: {auth: none, email: noreply@example.com, server: mail.example.com, envelope_from: message}\n"
        "tenants:\n"
        "  acme: {account: relay, from: \"Acme Voicemail <voicemail@acme.example>\"}\n"
        "  bare: {account: open, from: voicemail@acme.example, tenant_header: true}\n"
        "  strict: {account: relay, envelope_headers: false, reply_to: original}\n"
        "  other: {account: open, from: \"\\\"O, \\u00f6\\\" <other@example.com>\", tenant_header: true, "
        "reply_to: original}\n"
        "limits: {message_size: 1m, header_size: 64k, recipients: 100}\n";
    const struct config *config = NULL;
    struct config_findings findings = {0};
    char path[32];
    int fd = fuzz_file(text, sizeof text - 1);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int result = config_load(path, NULL, &config, &findings);
    for (size_t i = 0; i < findings.n; i++)
        (void)fprintf(stderr, "%s\n", findings.items[i].text);
    EXPECT(result == 0);
    config_findings_release(&findings);
    close(fd);
    return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t choice = *data;
    static const struct config *config;
    if (!config)
        config = load();
    const struct config_tenant *tenant = &config->tenants[choice % config->n_tenants];
    // The same message small (composed in memory) and large (streamed from its file).
    size_t length = size - 1, padding = choice & 16 ? OUTGOING_INLINE_MAX : 0;
    char *file = malloc(length + padding + 1);
    EXPECT(file);
    memcpy(file, data + 1, length);
    for (size_t i = 0; i < padding; i++)
        file[length + i] = "\n.x\r"[i % 4];
    int fd = fuzz_file(file, length + padding);
    struct stat stat;
    EXPECT(fstat(fd, &stat) == 0);
    stat.st_mtim = (struct timespec){1795446245, 123456789};
    struct outgoing *outgoing = NULL;
    struct outgoing_fault fault = {0};
    int result = outgoing_compose(config, tenant, "1764000000.M1P2.host", fd, &stat, &outgoing, &fault);
    EXPECT(result == 0 || result == -EBADMSG);
    EXPECT((result == 0) == (outgoing != NULL));
    if (result == -EBADMSG) {
        EXPECT(*fault.detail && fault.reason != STATUS_REASON_NONE);
        for (const char *c = fault.detail; *c; c++)
            EXPECT((unsigned char)*c >= ' ' && *c != 127);
    } else {
        struct wire wire = read_wire(&outgoing->body, false, 32 + choice);
        EXPECT(wire.length == outgoing->body.size);
        EXPECT(fuzz_crlf_only(wire.text, wire.length) && !memchr(wire.text, 0, wire.length));
        EXPECT(wire.length >= 2 && wire.text[wire.length - 1] == '\n');
        bool eight_bit = false;
        for (size_t i = 0; i < wire.length; i++)
            eight_bit |= (unsigned char)wire.text[i] > 127;
        EXPECT(outgoing->eight_bit || !eight_bit);
        check_head(&wire);
        check_envelope(outgoing);
        check_stuffing(&outgoing->body, &wire);
        free(wire.text);
        outgoing_free(outgoing);
    }
    close(fd);
    free(file);
    return 0;
}
