// The process that waits for a URL and becomes xdg-open.
#include "agent/cli/browser.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool browser_has_display(void)
{
    const char *x11 = getenv("DISPLAY"), *wayland = getenv("WAYLAND_DISPLAY");
    return (x11 && *x11) || (wayland && *wayland);
}

static bool read_url(int fd, char url[static BROWSER_URL_MAX + 1])
{
    size_t length = 0;
    ssize_t n = 1;
    while (n && length < BROWSER_URL_MAX) {
        n = read(fd, url + length, BROWSER_URL_MAX - length);
        if (n < 0 && errno != EINTR)
            return false;
        length += n > 0 ? (size_t)n : 0;
    }
    url[length] = '\0';
    return length > 0;
}

// Root's browser is nobody's: below sudo it is the caller's that is meant.
static bool become_caller(void)
{
    const char *text = getenv("SUDO_UID");
    char *end, runtime[64];
    if (geteuid() != 0 || !text || !*text)
        return true;
    unsigned long uid = strtoul(text, &end, 10);
    const struct passwd *entry = *end ? NULL : getpwuid((uid_t)uid);
    if (!entry || initgroups(entry->pw_name, entry->pw_gid) || setgid(entry->pw_gid) || setuid(entry->pw_uid))
        return false;
    (void)snprintf(runtime, sizeof runtime, "/run/user/%lu", uid);
    (void)setenv("HOME", entry->pw_dir, 1);
    (void)setenv("XDG_RUNTIME_DIR", runtime, 0);
    return true;
}

static void wait_and_open(int fd)
{
    char url[BROWSER_URL_MAX + 1], name[] = "xdg-open";
    char *argv[] = {name, url, NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)setsid(); // an interrupted verb does not take the browser along
    (void)signal(SIGPIPE, SIG_DFL);
    if (!read_url(fd, url) || !become_caller() || null < 0)
        _exit(1);
    for (int i = 0; i < 3; i++) // it must not write between the words of the verb, nor read what is pasted
        if (dup2(null, i) < 0)
            _exit(1);
    (void)execvp(name, argv);
    _exit(127);
}

bool browser_prepare(struct browser *browser)
{
    int fds[2];
    browser->fd = -1;
    if (pipe2(fds, O_CLOEXEC))
        return false;
    browser->pid = fork();
    if (browser->pid == 0) {
        close(fds[1]);
        wait_and_open(fds[0]);
    }
    close(fds[0]);
    if (browser->pid < 0) {
        close(fds[1]);
        return false;
    }
    browser->fd = fds[1];
    return true;
}

bool browser_show(struct browser *browser, const char *url)
{
    size_t length = strlen(url);
    if (browser->fd < 0 || length > BROWSER_URL_MAX)
        return false;
    ssize_t n = write(browser->fd, url, length); // fits into a pipe at once
    close(browser->fd);
    browser->fd = -1;
    return n == (ssize_t)length;
}

void browser_release(struct browser *browser)
{
    if (browser->fd >= 0) { // it never got a URL, and ends now
        close(browser->fd);
        browser->fd = -1;
        (void)waitpid(browser->pid, NULL, 0);
    }
}
