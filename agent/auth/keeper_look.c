// What other processes store: STATE/tokens is watched, and read again from time to time in any case.
#include "keeper_private.h"
#include "words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#define LOOK_EVENTS (IN_MOVED_TO | IN_DELETE | IN_ONLYDIR)

struct look {
    struct kept *kept;
    int error;
    struct token token;
};

// True where the directory was not watched before.
static bool look_watch(struct keeper *keeper)
{
    char path[64];
    int dir = -1, before = keeper->watch;
    if (keeper->inotify_fd < 0 || store_open(keeper->params.state_fd, false, &dir))
        return false;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", dir);
    // The same directory gives the same descriptor, another one in its place a new one.
    keeper->watch = inotify_add_watch(keeper->inotify_fd, path, LOOK_EVENTS);
    close(dir);
    return keeper->watch >= 0 && keeper->watch != before;
}

static void look_work(void *job)
{
    struct look *look = job;
    int dir = -1;
    if (store_open(look->kept->keeper->params.state_fd, true, &dir) == 0)
        close(dir); // made, so that it can be watched
    look->error = token_read(look->kept->keeper->params.state_fd, look->kept->name, &look->token);
}

static void look_done(void *job)
{
    struct look *look = job;
    struct kept *kept = look->kept;
    bool again = kept->look_again;
    kept->looking = kept->look_again = false;
    // A refresh reads what is stored itself, under the lock; afterwards it is looked at again.
    if (kept->flight)
        kept->look_again = true;
    else if (kept->settings && !kept->keeper->ending)
        kept_found(kept, look->error, &look->token);
    token_release(&look->token);
    free(look);
    // What came before the directory was watched told nobody.
    if (kept->keeper->watch < 0 && look_watch(kept->keeper))
        again = true;
    if (again && !kept->keeper->ending)
        kept_look(kept);
}

void kept_look(struct kept *kept)
{
    const struct keeper_params *params = &kept->keeper->params;
    struct look *look = kept->looking || kept->flight ? NULL : calloc(1, sizeof *look);
    kept->look_again = kept->looking || kept->flight;
    if (!look)
        return;
    look->kept = kept;
    kept->looking = true;
    params->submit(look_work, look_done, look, params->arg);
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool kept_has(const struct kept *kept, const struct token *token)
{
    return secret_equal(&kept->token.access, &token->access) &&
           secret_equal(&kept->token.refresh, &token->refresh) && same_text(kept->token.needs, token->needs);
}

// Nothing is stored: a person must authorize the account, or where none is needed it is done now.
static void kept_found_none(struct kept *kept)
{
    char words[OAUTH_WORDS_MAX];
    bool had = kept->token.access.length != 0;
    if (had)
        kept_log(kept, LOG_NOTICE_LEVEL, "token_removed", "the stored token was removed", NULL, NULL);
    token_release(&kept->token);
    kept->serial += had;
    if (oauth_flow_is_unattended(kept->settings->oauth.flow)) {
        if (!kept->failures && !kept->needs)
            kept_schedule(kept, clock_boot());
        return;
    }
    if (kept->needs && !had)
        return; // told already
    words_set(words, "account %s needs authorization: no token is stored for %s", kept->name,
        kept->settings->email);
    kept_set_needs(kept, true, words, NULL);
}

static void kept_found_unreadable(struct kept *kept, int error)
{
    char words[OAUTH_WORDS_MAX];
    if (kept->needs || kept_is_usable(kept))
        return;                                                 // told already, or before the next refresh
    if (oauth_flow_is_unattended(kept->settings->oauth.flow)) { // another one is fetched, and replaces it
        if (!kept->failures)
            kept_schedule(kept, clock_boot());
        return;
    }
    words_set(words, "the stored token cannot be used: %s",
        error == -EPERM     ? "it must belong to the user that runs outtray, with mode 0600"
        : error == -EBADMSG ? "it cannot be understood"
                            : strerror(-error));
    kept_set_needs(kept, true, words, NULL);
}

void kept_found(struct kept *kept, int error, struct token *token)
{
    bool first = !kept->loaded, had = kept->token.access.length != 0;
    kept->loaded = true;
    if (error == -ENOENT) {
        kept_found_none(kept);
        return;
    }
    if (error) {
        kept_found_unreadable(kept, error);
        return;
    }
    if (kept_has(kept, token) && !first)
        return;
    const char *misfit = kept_misfit(kept->settings, token);
    if (misfit && oauth_flow_is_unattended(kept->settings->oauth.flow)) { // another one is fetched
        token_release(&kept->token);
        kept->serial++;
        kept_schedule(kept, clock_boot());
        return;
    }
    bool same = had && kept_has(kept, token);
    const char *needs = misfit ? misfit : token->needs_login ? token->needs : NULL;
    if (same && !needs && !(kept->needs && kept->needs_login))
        return; // a reload that changed nothing
    if (!misfit && !first && !same)
        kept_log(kept, LOG_NOTICE_LEVEL, "token_found",
            "a token that another process stored is used from now on", NULL, NULL);
    if (!needs) {
        bool again = token->needs != NULL; // it needed somebody, who may have come meanwhile
        kept_adopt(kept, token, 0);
        if (again)
            kept_schedule(kept, clock_boot());
        return;
    }
    token_release(&kept->token);
    kept->token = *token;
    token_init(token);
    kept->serial++;
    kept_set_needs(kept, true, needs, NULL);
}

// Each change is one event; which account it was does not matter much, reading is cheap.
static void keeper_look_all(struct keeper *keeper)
{
    for (struct kept *kept = keeper->accounts; kept; kept = kept->next)
        if (kept->settings && !keeper->ending)
            kept_look(kept);
}

static void look_events(struct loop_watch *watch, uint32_t events)
{
    struct keeper *keeper = watch->arg;
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool any = false;
    (void)events;
    while (read(keeper->inotify_fd, buffer, sizeof buffer) > 0)
        any = true;
    if (any)
        keeper_look_all(keeper);
}

static void look_again(struct loop_timer *timer)
{
    struct keeper *keeper = timer->arg;
    (void)loop_timer_set(keeper->params.loop, timer, clock_boot() + KEEPER_LOOK_NS);
    if (keeper->ending || !keeper->accounts)
        return;
    (void)look_watch(keeper);
    keeper_look_all(keeper);
}

int keeper_look_begin(struct keeper *keeper)
{
    loop_watch_init(&keeper->events, look_events, keeper);
    loop_timer_init(&keeper->looker, look_again, keeper);
    keeper->watch = -1;
    keeper->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int error = keeper->inotify_fd < 0
                    ? 0
                    : loop_watch_add(keeper->params.loop, &keeper->events, keeper->inotify_fd, EPOLLIN);
    if (!error)
        error = loop_timer_set(keeper->params.loop, &keeper->looker, clock_boot() + KEEPER_LOOK_NS);
    if (error)
        keeper_look_end(keeper);
    return error;
}

void keeper_look_end(struct keeper *keeper)
{
    loop_timer_cancel(keeper->params.loop, &keeper->looker);
    loop_watch_remove(keeper->params.loop, &keeper->events);
    if (keeper->inotify_fd >= 0)
        close(keeper->inotify_fd);
    keeper->inotify_fd = -1;
}
