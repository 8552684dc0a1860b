// The dialogue of `outtray test`.
#include "agent/cli/dialogue.h"
#include "agent/cli/queue.h"
#include "agent/observe/json.h"

#include <errno.h>
#include <string.h>

static const char blanked[] = "[blanked]";

int dialogue_init(struct dialogue *dialogue, const struct doctor_login *login, bool json)
{
    *dialogue = (struct dialogue){.login = login, .lines = json ? json_array() : NULL};
    for (int i = 0; i < 2; i++) {
        buffer_init(&dialogue->said[i], DIALOGUE_LINE_MAX);
        buffer_make_secret(&dialogue->said[i]);
    }
    return json && !dialogue->lines ? -ENOMEM : 0;
}

static void write_down(const struct dialogue *dialogue, bool client, const char *text)
{
    char words[OAUTH_WORDS_MAX];
    doctor_hide(dialogue->login, text, words);
    if (dialogue->lines) {
        (void)json_array_append_new(dialogue->lines,
            json_pack("{s:s, s:o}", "from", client ? "client" : "server", "line", observe_json_text(words)));
        return;
    }
    printf(client ? "C: " : "S: ");
    queue_print(words);
    printf("\n");
    (void)fflush(stdout);
}

// What the client says while it logs in: "AUTH MECHANISM" is all that is no secret.
static void write_login(const struct dialogue *dialogue, const char *line)
{
    char shown[128] = "";
    size_t mechanism = 0;
    if (strncasecmp(line, "AUTH ", 5) == 0)
        mechanism = 5 + strcspn(line + 5, " ");
    if (mechanism && mechanism < sizeof shown - sizeof blanked - 1)
        (void)snprintf(shown, sizeof shown, "%.*s%s%s", (int)mechanism, line, line[mechanism] ? " " : "",
            line[mechanism] ? blanked : "");
    write_down(dialogue, true, *shown ? shown : blanked);
}

static void one_line(struct dialogue *dialogue, bool client, char *line)
{
    size_t length = strlen(line);
    if (length && line[length - 1] == '\r')
        line[length - 1] = '\0';
    if (client && strncasecmp(line, "AUTH ", 5) == 0)
        dialogue->logging_in = true;
    if (!dialogue->logging_in) {
        write_down(dialogue, client, line);
    } else if (client) {
        write_login(dialogue, line);
    } else if (strncmp(line, "334", 3) == 0) {
        write_down(dialogue, false, line[3] && line[4] ? "334 [blanked]" : "334");
    } else {
        dialogue->logging_in = line[0] && line[1] && line[2] && line[3] == '-'; // more lines of the verdict
        write_down(dialogue, false, line);
    }
}

void dialogue_take(struct dialogue *dialogue, bool client, const char *data, size_t length)
{
    struct buffer *said = &dialogue->said[client];
    while (length) {
        const char *end = memchr(data, '\n', length);
        size_t n = end ? (size_t)(end - data) : length;
        if (buffer_append(said, data, n) < 0) { // too long for one line
            if (said->data)
                one_line(dialogue, client, said->data);
            buffer_clear(said);
            (void)buffer_append(said, data, n < DIALOGUE_LINE_MAX ? n : DIALOGUE_LINE_MAX);
        }
        if (end) {
            char nothing[] = "";
            one_line(dialogue, client, said->data ? said->data : nothing);
            buffer_clear(said);
            n++;
        }
        data += n;
        length -= n;
    }
}

void dialogue_end(struct dialogue *dialogue)
{
    for (int i = 0; i < 2; i++) {
        if (dialogue->said[i].length)
            one_line(dialogue, i == 1, dialogue->said[i].data);
        buffer_release(&dialogue->said[i]);
    }
}
