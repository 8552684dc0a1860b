// An account that its operator paused: STATE/paused/ACCOUNT exists as long as it shall rest.
//
// The file holds one line, "at=TIME by=WHO reason=WORDS"; its existence counts, not what is in it. It is
// written durably (temporary, fsync, rename, fsync of the directory), so a pause survives restarts and power
// cuts. Who resumes an account leaves a note for the agent, STATE/paused/.ACCOUNT.resumed with the same line,
// and then removes the file: so the log can say who it was and why. The note alone, for an account that
// nobody paused, asks the agent to try an account in trouble now. The agent removes notes as it reads them.
//
// STATE/flush: whoever touches it says that everything is due now.
//
// Used by the verbs and, on its intake desk, by the agent. All calls block on the disk and return 0 or
// negative errno.
#ifndef OUTTRAY_AGENT_DELIVERY_PAUSE_H
#define OUTTRAY_AGENT_DELIVERY_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

#define PAUSE_DIRECTORY   "paused"
#define PAUSE_FLUSH       "flush"
#define PAUSE_BY_MAX      64   // octets
#define PAUSE_REASON_MAX  255  // octets
#define PAUSE_ACCOUNT_MAX 100  // octets, as config/ allows
#define PAUSE_LINE_MAX    1024 // octets of a file that are read

struct pause {
    int64_t at;                        // wall ns, whole seconds
    char by[PAUSE_BY_MAX + 1];         // "" where unknown
    char reason[PAUSE_REASON_MAX + 1]; // "" where none was given; no control bytes
};

// Opens STATE/paused (close it); made with mode 0750 where missing and `create`.
int pause_open(int state_fd, bool create, int *ret_dir);

// Pauses. Blanks in `by` and control bytes become '_'. 1 where the disk was full: the account is paused, and
// nobody knows by whom and why.
int pause_set(int state_fd, const char *account, const struct pause *pause);
// Resumes: leaves the note, then removes the file. *ret_was: whether there was one. Without a note (NULL)
// only the file goes, and on a full disk it goes without.
int pause_clear(int state_fd, const char *account, const struct pause *note, bool *ret_was);
// Who paused it, when and why. -ENOENT where nobody did. A file that somebody made by hand names its owner.
int pause_get(int state_fd, const char *account, struct pause *ret_pause);
// Takes the note of who resumed: 1 and *ret_note, 0 where there is none. The note is gone then.
int pause_take_note(int state_fd, const char *account, struct pause *ret_note);

// Touches STATE/flush, making it where missing. pause_flushed: its mtime in ns of the file's clock, 0 where
// there is none.
int pause_flush(int state_fd);
int64_t pause_flushed(int state_fd);

#endif
