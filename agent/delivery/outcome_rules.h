// The tables behind outcome.c: which reply, and which failure without a reply, means what. First match wins.
// Public for the test that demands a case for every row; everybody else asks outcome.h.
#ifndef OUTTRAY_AGENT_DELIVERY_OUTCOME_RULES_H
#define OUTTRAY_AGENT_DELIVERY_OUTCOME_RULES_H

#include "agent/delivery/outcome.h"

// One row about replies. A zero code_max, class_digit, text or subject_max of -1 means "any".
struct outcome_rule {
    unsigned stages; // a bit for each enum smtp_stage
    int code_min, code_max;
    int class_digit;         // of the enhanced code
    int subject;             // -1: any
    int detail, detail_last; // both included; -1: any
    const char *text;        // a substring of the reply, in any case of ASCII letters
    const char *source;      // where the rule comes from
    const struct outcome *outcome;
};
extern const struct outcome_rule outcome_rules[];
extern const size_t outcome_rules_n;

// One row about failures without a reply that decides. curl -1 and os_error 0 mean "any".
struct outcome_failure_rule {
    enum smtp_failure failure;
    int curl; // CURLcode
    int os_error;
    const struct outcome *outcome;
};
extern const struct outcome_failure_rule outcome_failure_rules[];
extern const size_t outcome_failure_rules_n;

// The row that decides; never NULL, since the last rows match everything.
const struct outcome_rule *outcome_rule_find(enum smtp_stage stage, const struct smtp_reply *reply);
const struct outcome_failure_rule *outcome_failure_rule_find(
    enum smtp_failure failure, CURLcode curl, long os_error);

#endif
