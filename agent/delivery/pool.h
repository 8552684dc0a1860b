// The sessions of one account, and which message goes over which of them.
//
// A pool claims messages a little ahead of what its sessions can take, opens sessions as far as there is mail
// for them and the account allows it, and hands out the messages by weighted round robin among the tenants
// that share the account. A session's window counts messages until their outcome is durable, not only until
// the server has answered: that bounds what a crash can repeat to connections × window.
#ifndef OUTTRAY_AGENT_DELIVERY_POOL_H
#define OUTTRAY_AGENT_DELIVERY_POOL_H

#include "agent/base/clock.h"
#include "agent/base/loop.h"
#include "agent/delivery/account.h"
#include "agent/delivery/message.h"
#include "agent/delivery/pause.h"
#include "agent/observe/snapshot.h"
#include "agent/smtp/session.h"
#include <sys/stat.h>

#define POOL_RESERVE_MIN 4 // windows smaller than this keep no place for quiet tenants
#define POOL_AHEAD       64 // messages claimed and not yet sent, beyond half of what the sessions' windows hold
#define POOL_AHEAD_MAX   1024 // of all together, but for one reserved place per tenant
// Claims of a pool that the intake desk has not answered. They are in front of what is asked of it next: the
// first message of a tenant that was quiet waits for so many at most.
#define POOL_CLAIMING_MAX 64

struct dispatch;

struct carrier { // one session
    struct pool *pool;
    struct carrier *next;
    struct smtp_session *session; // NULL once closed
    unsigned window;
    unsigned unfiled; // messages sent over it whose outcome is not durable yet
    bool ready;       // was ready once: the account let us in
    bool useful;      // delivered something
    bool surplus;     // it ends, because the server will not have so many
    uint64_t token;   // serial of the access token it logs in with; 0: none
    size_t server;    // index into the account's servers
};

struct pool {
    struct dispatch *dispatch;
    struct account *account; // owned
    struct tenant *tenants;  // of this account, linked by next_in_pool
    size_t n_tenants;
    struct tenant_line {
        struct tenant *first, *last;
        size_t n;
    } hungry[TENANT_EATING + 1];        // with waiting names, in turn; by tenant_hunger, the first is unused
    struct tenant *active, *active_end; // with ready messages, in turn, linked by next_active
    struct tenant *idle_end;            // of those in front that had nothing on their way, the last; or NULL
    struct carrier *carriers;
    unsigned n_open, n_connecting; // carriers with a session
    unsigned claiming, ready, unfiled;
    size_t server_tries; // connection attempts in a row that failed, for going through the list
    struct loop_timer wake;
    bool paused;                                             // by its operator: nothing is claimed or begun
    char paused_words[PAUSE_REASON_MAX + PAUSE_BY_MAX + 32]; // who and why
    bool no_chunking;        // the server offers CHUNKING but does not know BDAT
    bool woken;              // something changed: look at it before sleeping
    struct pool *next_pump;  // in the hub's list of those
    bool token_good;         // its access token was there when last heard of
    struct stat secret_seen; // the password file when credentials were last refused
    uint64_t delivery[OBSERVE_BUCKETS + 1];
    double delivery_sum_s;
    int64_t progress_at; // boot: when its mail moved last, or had a reason not to (progress.h)
};

int pool_new(struct dispatch *dispatch, const struct config *config, const struct config_account *settings,
    struct pool **ret_pool);
void pool_free(struct pool *pool); // nothing of it may be claimed or open

void pool_add_tenant(struct pool *pool, struct tenant *tenant);
void pool_remove_tenant(struct pool *pool, struct tenant *tenant);

// A claimed message is ready to go over this pool.
void pool_ready(struct pool *pool, struct message *message, bool in_front);
// A message's outcome is durable, or it is not going to be filed: its window slot is free.
void pool_give_back(struct message *message);
// Puts every ready message back to where it was claimed from.
void pool_return_all(struct pool *pool, const char *words);

// Claims, connects and sends as far as possible now.
void pool_pump(struct pool *pool);
// Something changed: it is pumped before the loop sleeps.
void pool_wake(struct pool *pool);
// Names came into the tenant's backlog, or claims and ready messages of it became more or fewer. Costs
// nothing that grows with the number of tenants, and so does everything else here: who is at rest is in no
// list.
void pool_tenant_changed(struct tenant *tenant);
// Opens one more session where the account allows it now (carrier.c).
void pool_connect(struct pool *pool);
// Ends sessions that the account has too many of, once they have sent what they hold (carrier.c).
void pool_shrink(struct pool *pool);
// Ends all sessions: politely, or now.
void pool_quit(struct pool *pool);
void pool_abort(struct pool *pool);
// Checks whether what was wrong with the credentials has changed on disk.
void pool_check_secret(struct pool *pool);
// Removes carriers that are closed and have nothing unfiled.
void pool_sweep(struct pool *pool);

// Whether nothing more can be done for its waiting mail without an event from outside or a long wait (`run
// --once`).
bool pool_is_blocked(const struct pool *pool);

#endif
