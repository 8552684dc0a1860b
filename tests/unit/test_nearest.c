// The known word nearest to a typo: near enough to be worth saying, or nothing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/nearest.h"
#include <string.h>

static const char *const words[] = {
    "port", "server", "password_file", "encryption", "email", "auth", "tls", "to"};

static void guesses(void **state)
{
    (void)state;
    static const struct {
        const char *word, *best;
    } rows[] = {
        {"prot", "port"},
        {"prt", "port"},
        {"Port", "port"},
        {"ports", "port"},
        {"sever", "server"},
        {"sevrer", "server"},
        {"password", "password_file"},
        {"pasword_file", "password_file"},
        {"encrypt", "encryption"},
        {"encripton", "encryption"},
        {"e-mail", "email"},
        {"auht", "auth"},
        {"tsl", "tls"},
        {"xyz", NULL},
        {"q", NULL},
        {"", NULL},
        {"completely_different", NULL},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct nearest nearest = {.word = rows[i].word};
        for (size_t j = 0; j < sizeof(words) / sizeof(words[0]); j++)
            nearest_offer(&nearest, words[j]);
        const char *best = nearest.best;
        if (best != rows[i].best && (!best || !rows[i].best || strcmp(best, rows[i].best) != 0))
            fail_msg("\"%s\" gave %s", rows[i].word, best ? best : "nothing");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(guesses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
