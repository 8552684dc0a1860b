// When surveys run, and what they bring (wire thread; the reading is survey.c's).
#include "agent/base/clock.h"
#include "agent/delivery/dispatch.h"
#include "agent/delivery/scan.h"

#include <string.h>

#define RETENTION_EVERY_NS (3600 * CLOCK_SECOND)
#define SURVEYS_MAX        8                // under way at a time: each keeps names in memory
#define SURVEY_CHEAP_NS    (100 * CLOCK_MS) // one more at the end costs nobody anything

static void survey_take_deferred(
    struct dispatch *dispatch, struct tenant *tenant, const struct name_at *found)
{
    if (found->time < found->recorded) { // released: due before its time
        int64_t now = loop_now(dispatch->loop);
        (void)backlog_add_deferred(&tenant->backlog, found->text, found->recorded, now, now);
    } else {
        dispatch_wait(dispatch, tenant, found->text, found->recorded);
    }
}

static void survey_take_waiting(struct dispatch *dispatch, struct tenant *tenant, const struct survey *survey)
{
    // What it could not read may be due still.
    int64_t left_out_due = survey->deferred_unread ? tenant->backlog.left_out_due : INT64_MAX;
    tenant->backlog.left_out_due = INT64_MAX;
    if (survey->deferred.left_out)
        left_out_due = dispatch_due(dispatch, survey->deferred.left_out_time);
    // These are the earliest, and may find no room beside those that wait as long as what was left out (times
    // of the two clocks agree to less than a second).
    if (survey->deferred.left_out)
        backlog_forget_later(&tenant->backlog, left_out_due - CLOCK_SECOND);
    for (size_t i = 0; i < survey->deferred.n; i++)
        survey_take_deferred(dispatch, tenant, &survey->deferred.items[i]);
    // What was released and found no room is still to be: the next survey goes on.
    tenant->release_more =
        survey->release && survey->deferred.left_out && survey->deferred.left_out_time == 0;
    if (left_out_due < tenant->backlog.left_out_due)
        tenant->backlog.left_out_due = left_out_due;
    int64_t now = loop_now(dispatch->loop);
    tenant->stuck = tenant->backlog.left_out_due <= now && !backlog_has_waiting(&tenant->backlog, now);
}

static void survey_take(struct dispatch *dispatch, struct tenant *tenant, struct survey *survey)
{
    if (survey->part != SURVEY_REST) {
        tenant_count_read(&tenant->deferred_unread, survey->deferred_unread);
        tenant->counts[OBSERVE_DEFERRED] = survey->counts[OBSERVE_DEFERRED];
        tenant->deferred_counted_at = clock_wall();
        if (survey->deferred_unread || tenant->claimed) // a move may be read here, and be told of later
            ledger_doubt(&tenant->ledger);
        ledger_take(&tenant->ledger, &survey->counts[OBSERVE_DEFERRED], &survey->oldest);
        if (!survey->count_only)
            survey_take_waiting(dispatch, tenant, survey);
    }
    if (survey->part == SURVEY_DEFERRED)
        return;
    for (enum observe_state state = 0; state < OBSERVE_STATES; state++)
        if (state != OBSERVE_DEFERRED)
            tenant->counts[state] = survey->counts[state];
    tenant->counted_at = clock_wall();
    tenant->ignored = survey->n_ignored;
    for (size_t i = 0; i < survey->ignored.n; i++)
        dispatch_ignored(dispatch, tenant, survey->ignored.items[i].text);
    // Only where the backlog believes to know everything can the survey have found something that events
    // missed.
    if (!tenant->backlog.more_new && !tenant->refilling) {
        for (size_t i = 0; i < survey->fresh.n; i++)
            (void)backlog_add_new(&tenant->backlog, survey->fresh.items[i].text, false, false);
        tenant->backlog.more_new |= survey->fresh.left_out;
    }
}

static void survey_start(struct dispatch *dispatch);

static void survey_done(struct desk_job *job)
{
    struct survey *survey = (struct survey *)job;
    struct dispatch *dispatch = survey->dispatch;
    struct tenant *tenant = survey->tenant;
    int64_t now = loop_now(dispatch->loop);
    tenant->survey_running = false;
    dispatch->n_surveys--;
    bool whole = survey->step > 0 && !survey->dir;
    bool fresh = survey->dirs == tenant->dirs && !tenant->opening; // else that is known, and being seen to
    if (survey->stale == 1 && fresh && !dispatch->stopping && tenant->settings) {
        log_event(dispatch->log, LOG_WARNING_LEVEL, "directory_replaced",
            "a directory of the tenant was moved, deleted or mounted over; it is opened again", "tenant",
            tenant->name, NULL);
        dispatch_tenant_open(dispatch, tenant);
    } else if (survey->dirs == tenant->dirs && whole && survey->error) {
        dispatch_scan_failed(dispatch, tenant, survey->error);
    }
    if (survey->dirs == tenant->dirs && whole) {
        survey_take(dispatch, tenant, survey);
        tenant->counted |= survey->part != SURVEY_DEFERRED;
        tenant->surveyed = true;
        if (survey->retention)
            tenant->retention_at = now + RETENTION_EVERY_NS;
    }
    tenant->survey_ended = now;
    if (survey->part != SURVEY_REST) {
        tenant->deferred_cost = survey->deferred_cost;
        tenant->deferred_ended = now;
    }
    if (survey->part != SURVEY_DEFERRED)
        tenant->rest_cost = survey->cost - survey->deferred_cost;
    bool rest = survey->part == SURVEY_DEFERRED && tenant->surveyed && !tenant->counted &&
                !tenant_reads_again(tenant->deferred_unread); // at once it would fail again
    if (tenant->survey_again || rest)
        dispatch_survey_rest(dispatch, tenant);
    survey_start(dispatch);
    pool_tenant_changed(tenant);
    survey_free(survey);
}

// What a survey reads: at first, and after a release, only what is deferred, since its due times are waited
// for; then the rest, and from then on everything or the rest, at a rest; at the end what is out of date.
static enum survey_part survey_part(const struct dispatch *dispatch, const struct tenant *tenant)
{
    if (dispatch->stopping && tenant->wants_deferred)
        return tenant->changed ? SURVEY_ALL : SURVEY_DEFERRED;
    if (!dispatch->stopping && (!tenant->surveyed || tenant->release || tenant->release_more ||
                                   tenant->wants_due || tenant_reads_again(tenant->deferred_unread)))
        return SURVEY_DEFERRED;
    // What retention removes lies in deferred/, too.
    bool old = !dispatch->stopping && loop_now(dispatch->loop) >= tenant->retention_at;
    return tenant->counted && (tenant->wants_deferred || old) ? SURVEY_ALL : SURVEY_REST;
}

static void survey_submit(struct dispatch *dispatch, struct tenant *tenant)
{
    struct survey *survey = survey_new(dispatch, tenant, dispatch->config, dispatch->spool_fd, survey_done);
    if (!survey)
        return;
    survey->part = survey_part(dispatch, tenant);
    survey->count_only = dispatch->stopping;
    survey->retention = survey->part != SURVEY_DEFERRED && loop_now(dispatch->loop) >= tenant->retention_at;
    survey->first = !tenant->counted;
    survey->release = tenant->release || tenant->release_more;
    survey->release_before = tenant->release_before;
    survey->job.gentle = survey->part != SURVEY_DEFERRED && !dispatch->stopping;
    if (survey->part != SURVEY_REST) {
        tenant->due_read = tenant->wants_due;
        tenant->wants_deferred = tenant->deferred_changed = false;
        ledger_begin(&tenant->ledger, tenant->watch_deferred >= 0);
    }
    tenant->release = tenant->wants_due = false;
    if (survey->part != SURVEY_DEFERRED)
        tenant->changed = false;
    tenant->survey_running = true;
    dispatch->n_surveys++;
    desk_submit_slow(dispatch->intake, &survey->job);
}

// Starts those whose turn it is.
static void survey_start(struct dispatch *dispatch)
{
    while (dispatch->surveys && dispatch->n_surveys < SURVEYS_MAX) {
        struct tenant *tenant = dispatch->surveys;
        dispatch->surveys = tenant->next_survey;
        tenant->survey_queued = false;
        if (tenant->dirs && tenant->settings)
            survey_submit(dispatch, tenant);
    }
}

void dispatch_survey(struct dispatch *dispatch, struct tenant *tenant)
{
    tenant->wants_deferred = true;
    dispatch_survey_rest(dispatch, tenant);
}

bool dispatch_survey_due(struct dispatch *dispatch, struct tenant *tenant)
{
    if (!tenant->dirs || tenant->stuck || tenant->backlog.left_out_due > loop_now(dispatch->loop))
        return false;
    if (tenant->due_read && tenant->ledger.went == 0 && !tenant->survey_running && !tenant->survey_queued) {
        tenant->stuck = true; // it would bring the same again, of which none could be claimed
        return false;
    }
    tenant->wants_due = true;
    if (tenant->survey_running)
        desk_hurry(dispatch->intake); // there is nothing else to do
    else if (!tenant->survey_queued)
        dispatch_survey(dispatch, tenant);
    return true;
}

void dispatch_survey_rest(struct dispatch *dispatch, struct tenant *tenant)
{
    tenant->survey_again = tenant->survey_running && !dispatch->stopping;
    if (tenant->survey_running || tenant->survey_queued || !tenant->dirs || !tenant->settings)
        return;
    tenant->survey_queued = true;
    tenant->next_survey = NULL;
    *(dispatch->surveys ? &dispatch->surveys_last->next_survey : &dispatch->surveys) = tenant;
    dispatch->surveys_last = tenant;
    survey_start(dispatch);
}

bool dispatch_survey_last(struct dispatch *dispatch)
{
    bool running = false;
    for (size_t i = 0; i < dispatch->n_tenants; i++) {
        struct tenant *tenant = dispatch->tenants[i];
        bool all = tenant->deferred_changed && !ledger_is_sure(&tenant->ledger) &&
                   (dispatch->once || tenant->deferred_cost + tenant->rest_cost < SURVEY_CHEAP_NS);
        if (all)
            dispatch_survey(dispatch, tenant);
        else if (tenant->changed && tenant->rest_cost < SURVEY_CHEAP_NS) {
            tenant->wants_deferred = false;
            dispatch_survey_rest(dispatch, tenant);
        }
        running |= tenant->survey_running || tenant->survey_queued;
    }
    return running;
}
