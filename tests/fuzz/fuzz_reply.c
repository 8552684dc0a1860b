// SMTP replies: the first octet says into how large pieces the rest falls on its way. However that is, the
// same replies come out, each with a code and a text inside their bounds.
#include "agent/smtp/capabilities.h"
#include "fuzz.h"

#define REPLIES_MAX 64

struct outcome {
    struct smtp_reply replies[REPLIES_MAX];
    unsigned n;
    int result;
    size_t used;
};

static void read_all(const char *text, size_t size, size_t piece, struct outcome *outcome)
{
    struct reply_reader reader;
    reply_reader_init(&reader);
    *outcome = (struct outcome){0};
    while (outcome->used < size && outcome->n < REPLIES_MAX) {
        size_t length = size - outcome->used < piece ? size - outcome->used : piece, used = 0;
        char *part = fuzz_text(text + outcome->used, length);
        const char *problem = NULL;
        int result = reply_read(&reader, part, length, &used, &problem);
        free(part);
        EXPECT(used <= length);
        outcome->used += used;
        outcome->result = result;
        if (result < 0) {
            EXPECT(result == -EPROTO && problem);
            return;
        }
        EXPECT(result == 1 || used == length);
        if (result == 1) {
            EXPECT(reader.reply.code >= 200 && reader.reply.code <= 599);
            EXPECT(strlen(reader.reply.text) <= REPLY_TEXT_MAX && !strchr(reader.reply.text, (int)'\n'));
            reply_copy(&outcome->replies[outcome->n++], &reader.reply);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole, pieces;
    if (size == 0)
        return 0;
    size_t piece = 1 + *data % 40;
    const char *text = (const char *)data + 1;
    size--;
    read_all(text, size, size, &whole);
    read_all(text, size, piece, &pieces);
    EXPECT(whole.n == pieces.n && (whole.result < 0) == (pieces.result < 0));
    for (unsigned i = 0; i < whole.n; i++) {
        EXPECT(reply_same(&whole.replies[i], &pieces.replies[i]));
        EXPECT(whole.replies[i].code == pieces.replies[i].code);
        EXPECT(memcmp(whole.replies[i].enhanced, pieces.replies[i].enhanced, sizeof(int[3])) == 0);
    }
    char *copy = fuzz_text(text, size);
    struct smtp_reply reply = {0};
    if (reply_parse(copy, &reply))
        EXPECT(reply.code >= 200 && reply.code <= 599);
    struct smtp_capabilities capabilities = {0};
    capabilities_line(&capabilities, copy, size);
    EXPECT(capabilities.size || capabilities.size_max == 0);
    free(copy);
    return 0;
}
