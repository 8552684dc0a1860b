// A browser on the screen of whoever calls a verb, started by xdg-open(1) without a shell.
//
// The verb may have become another user by the time it knows the URL, so the process that will start the
// browser is made before that: browser_prepare; browser_show or nothing; browser_release.
#ifndef OUTTRAY_AGENT_CLI_BROWSER_H
#define OUTTRAY_AGENT_CLI_BROWSER_H

#include <stdbool.h>
#include <sys/types.h>

#define BROWSER_URL_MAX 8192 // octets

struct browser {
    int fd; // to the process; -1: there is none
    pid_t pid;
};

// Whether there is a screen: DISPLAY or WAYLAND_DISPLAY.
bool browser_has_display(void);

// Below sudo(8) the browser will run as the user who called it. False where no process can be made.
bool browser_prepare(struct browser *browser);
// True where the URL was handed over; whether a browser appears is for the person to see.
bool browser_show(struct browser *browser, const char *url);
void browser_release(struct browser *browser);

#endif
