// The names that status.json and the metrics use, in the order of their arrays.
#include "agent/observe/snapshot.h"

#include <assert.h>
#include <string.h>

const double observe_bucket_bounds[OBSERVE_BUCKETS] = {
    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600, 86400};

const char *const observe_state_names[OBSERVE_STATES] = {
    [OBSERVE_NEW] = "new",
    [OBSERVE_CUR] = "cur",
    [OBSERVE_DEFERRED] = "deferred",
    [OBSERVE_FAILED] = "failed",
};

const char *const observe_reasons[OBSERVE_REASONS] = {"recipient", "policy", "size", "malformed", "expired"};

const char *const observe_classes[OBSERVE_CLASSES] = {"recipient", "message", "policy", "greylist",
    "connection", "tls", "protocol", "timeout", "throttled", "quota", "credentials", "local"};

size_t observe_class_index(const char *class_name)
{
    size_t i = 0;
    while (i < OBSERVE_CLASSES - 1 && (!class_name || strcmp(observe_classes[i], class_name) != 0))
        i++;
    return i;
}
