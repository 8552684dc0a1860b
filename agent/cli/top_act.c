// What the keys of `outtray top` do. Mail and accounts are worked on by the verbs, each in a process of its
// own: as the user and with the care that they take.
#include "agent/cli/top.h"

#include <errno.h>
#include <fcntl.h>
#include <ncurses.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 12
#define LINES_MAX     20000

// Runs a verb and takes what it prints. Its exit code, or -1.
static int run_verb(const struct top *top, const char *const *arguments, struct buffer *out)
{
    char *argv[ARGUMENTS_MAX + 4] = {
        (char *)"outtray", (char *)arguments[0], (char *)"--config", (char *)top->config_path};
    int ends[2], status = 0, n = 4;
    pid_t child = -1;
    posix_spawn_file_actions_t actions;
    for (size_t i = 1; arguments[i] && n < ARGUMENTS_MAX + 3; i++)
        argv[n++] = (char *)arguments[i];
    buffer_init(out, TOP_OUTPUT_MAX);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    bool good = posix_spawn_file_actions_init(&actions) == 0;
    if (good) {
        good = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0 &&
               posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) == 0 &&
               posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO) == 0 &&
               posix_spawn(&child, "/proc/self/exe", &actions, NULL, argv, environ) == 0;
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[1]);
    char data[4096];
    for (ssize_t got; good && (got = TEMP_FAILURE_RETRY(read(ends[0], data, sizeof data))) > 0;)
        (void)buffer_append(out, data, (size_t)got); // what does not fit is not shown
    close(ends[0]);
    if (!good || TEMP_FAILURE_RETRY(waitpid(child, &status, 0)) < 0)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// The last line of what a verb said goes into the last line of the screen.
static void act(struct top *top, const char *const *arguments)
{
    struct buffer out;
    int code = run_verb(top, arguments, &out);
    char *text = out.data, *line = text;
    size_t length = text ? strlen(text) : 0;
    while (length && text[length - 1] == '\n')
        text[--length] = '\0';
    char *newline = text ? strrchr(text, '\n') : NULL;
    if (newline && code == EX_OK && strncmp(arguments[0], "pause", 5) == 0)
        *newline = '\0'; // its first line says it
    else if (newline)
        line = newline + 1;
    (void)snprintf(top->message, sizeof top->message, "%s",
        line && *line   ? line
        : code == EX_OK ? "done"
                        : "that did not work");
    buffer_release(&out);
}

// Lines of text under a title, until a key leaves them.
static void page(const char *title, char *text)
{
    const char **lines = calloc(LINES_MAX, sizeof *lines);
    size_t n = 0, first = 0;
    for (char *at = text, *end; lines && at && *at && n < LINES_MAX; at = end) {
        end = strchrnul(at, '\n');
        if (*end)
            *end++ = '\0';
        lines[n++] = at;
    }
    timeout(-1);
    for (bool open = lines != NULL; open;) {
        size_t rows = LINES > 2 ? (size_t)LINES - 2 : 1, last = n > rows ? n - rows : 0;
        first = first > last ? last : first;
        top_draw_lines(title, lines, n, first);
        switch (getch()) {
        case KEY_DOWN:
        case 'j':
            first++;
            break;
        case KEY_UP:
        case 'k':
            first -= first > 0;
            break;
        case KEY_NPAGE:
        case ' ':
            first += rows;
            break;
        case KEY_PPAGE:
            first = first > rows ? first - rows : 0;
            break;
        case 'q':
        case 27:
        case '\n':
            open = false;
            break;
        default:
            break;
        }
    }
    free(lines);
}

void top_help(void)
{
    char text[] = "The screen shows what the agent and the directories say, every two seconds.\n"
                  "\n"
                  "  TAB        the next section: accounts, tenants, failures\n"
                  "  up, down   the row that keys work on (also k and j)\n"
                  "  p          pause an account: its mail waits; asks why\n"
                  "  r          resume an account; one in trouble is tried now\n"
                  "  t          retry: the deferred mail of a tenant or account, or a failed message\n"
                  "  s, Enter   show: a message, the waiting mail of a tenant, an account\n"
                  "  f          flush: all deferred mail is due now\n"
                  "  ?          this page\n"
                  "  q          quit\n"
                  "\n"
                  "On a tenant, p and r work on its account.\n"
                  "Colours: green is well, yellow waits, red needs a person.\n";
    page("outtray top: keys", text);
}

static const char *account_of(const struct top *top)
{
    size_t row = top->selected[top->section];
    const struct config *config = top->overview.queue.config;
    switch (top->section) {
    case TOP_ACCOUNTS:
        return row < config->n_accounts ? config->accounts[row].name : NULL;
    case TOP_TENANTS:
        return row < config->n_tenants ? config->tenants[row].account->name : NULL;
    default:
        return row < top->overview.n_failures ? top->overview.failures[row].tenant->account->name : NULL;
    }
}

// A line typed at the bottom. False where it was given up.
static bool ask(const char *question, char *answer, size_t size)
{
    (void)move(LINES - 1, 0);
    (void)clrtoeol();
    (void)addstr(question);
    (void)curs_set(1);
    (void)echo();
    timeout(-1);
    int r = getnstr(answer, (int)size - 1);
    (void)noecho();
    (void)curs_set(0);
    return r == OK && !strchr(answer, 27);
}

static void pause_account(struct top *top)
{
    const char *account = account_of(top);
    char question[160], reason[120] = "";
    if (!account)
        return;
    (void)snprintf(question, sizeof question, "pause %.100s - why (may be empty; Esc, Enter: no)? ", account);
    if (!ask(question, reason, sizeof reason))
        return;
    act(top, (const char *const[]){"pause", "--reason", reason, "--", account, NULL});
}

static const char *failure_path(const struct top *top, char *path, size_t size)
{
    size_t row = top->selected[TOP_FAILURES];
    if (row >= top->overview.n_failures)
        return NULL;
    (void)snprintf(path, size, "%s/%s/%s", top->overview.failures[row].tenant->name,
        spool_state_name(SPOOL_FAILED), top->overview.failures[row].name);
    return path;
}

static void retry(struct top *top)
{
    char path[2 * SPOOL_NAME_SIZE];
    const struct config *config = top->overview.queue.config;
    size_t row = top->selected[top->section];
    if (top->section == TOP_FAILURES && failure_path(top, path, sizeof path))
        act(top, (const char *const[]){"retry", "--", path, NULL});
    else if (top->section == TOP_TENANTS && row < config->n_tenants)
        act(top, (const char *const[]){"retry", "--tenant", config->tenants[row].name, NULL});
    else if (top->section == TOP_ACCOUNTS && row < config->n_accounts)
        act(top, (const char *const[]){"retry", "--account", config->accounts[row].name, NULL});
}

static void show(struct top *top)
{
    char path[2 * SPOOL_NAME_SIZE];
    const struct config *config = top->overview.queue.config;
    size_t row = top->selected[top->section];
    const char *arguments[4] = {"status", NULL};
    if (top->section == TOP_FAILURES && failure_path(top, path, sizeof path)) {
        arguments[0] = "show";
        arguments[1] = "--";
        arguments[2] = path;
    } else if (top->section == TOP_TENANTS && row < config->n_tenants) {
        arguments[0] = "queue";
        arguments[1] = "--";
        arguments[2] = config->tenants[row].name;
    }
    struct buffer out;
    (void)run_verb(top, arguments, &out);
    char nothing[] = "nothing waits here\n", title[sizeof path + 32];
    (void)snprintf(title, sizeof title, "outtray %s %s", arguments[0], arguments[2] ? arguments[2] : "");
    page(title, out.data && *out.data ? out.data : nothing);
    buffer_release(&out);
}

static void move_cursor(struct top *top, bool down)
{
    size_t *row = &top->selected[top->section], rows = top_rows(top, top->section);
    if (down && *row + 1 < rows)
        ++*row;
    else if (!down && *row > 0)
        --*row;
}

void top_key(struct top *top, int key)
{
    const char *account = account_of(top);
    top->message[0] = '\0';
    switch (key) {
    case 'q':
        top->quit = true;
        break;
    case '\t':
        top->section = (top->section + 1) % TOP_SECTIONS;
        break;
    case KEY_DOWN:
    case 'j':
    case KEY_UP:
    case 'k':
        move_cursor(top, key == KEY_DOWN || key == 'j');
        break;
    case 'p':
        pause_account(top);
        break;
    case 'r':
        if (account)
            act(top, (const char *const[]){"resume", "--", account, NULL});
        break;
    case 't':
        retry(top);
        break;
    case 's':
    case '\n':
    case KEY_ENTER:
        show(top);
        break;
    case 'f':
        act(top, (const char *const[]){"flush", NULL});
        break;
    case '?':
    case 'h':
        top_help();
        break;
    default:
        (void)snprintf(top->message, sizeof top->message, "? lists the keys");
    }
}
