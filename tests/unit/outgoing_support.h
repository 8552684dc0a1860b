// What the tests of what goes over the wire share. Include it after <cmocka.h>.
#ifndef OUTTRAY_TESTS_UNIT_OUTGOING_SUPPORT_H
#define OUTTRAY_TESTS_UNIT_OUTGOING_SUPPORT_H

#include "compose_support.h"

#define FROM "From: Acme Voicemail <voicemail@acme.example>\r\n"
#define OWN  "Date: " SUBMITTED_DATE "\nMessage-ID: <1@inside.example>\nTo: a@x.example\n"
#define HEAD FROM "Date: " SUBMITTED_DATE "\r\nMessage-ID: <1@inside.example>\r\nTo: a@x.example\r\n"

static inline struct composed simple(const char *text)
{
    struct bench bench;
    bench_init(&bench);
    return compose(&bench, text);
}

#endif
