// Address lists and addresses: every promise of spool-format/address.h, and hostile text.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "spool-format/address.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX 1000

// What a list is expected to give: "display <address>" or "address" each, joined by '|'. NULL: an error.
struct expectation {
    const char *text;
    const char *list;
};

static void join(const struct mailbox_list *list, char *ret, size_t size)
{
    size_t n = 0;
    ret[0] = 0;
    for (size_t i = 0; i < list->n && n < size; i++) {
        const char *bar = i > 0 ? "|" : "";
        const struct mailbox *mailbox = &list->items[i];
        int length = mailbox->display != NULL
                         ? snprintf(ret + n, size - n, "%s%s <%s>", bar, mailbox->display, mailbox->address)
                         : snprintf(ret + n, size - n, "%s%s", bar, mailbox->address);
        n += (size_t)length;
    }
}

static void expect_all(const struct expectation *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct mailbox_list list = {0};
        const char *problem = NULL;
        char joined[1000];
        int r = mailbox_list_parse(cases[i].text, strlen(cases[i].text), MAX, &list, &problem);
        if (r < 0) {
            assert_null(list.items);
            if (cases[i].list != NULL || r != -EBADMSG || problem == NULL)
                fail_msg("%s: %d %s", cases[i].text, r, problem != NULL ? problem : "");
            continue;
        }
        join(&list, joined, sizeof joined);
        if (cases[i].list == NULL || strcmp(joined, cases[i].list) != 0)
            fail_msg("%s\n  gives    %s\n  expected %s", cases[i].text, joined, cases[i].list);
        mailbox_list_release(&list);
        assert_int_equal(list.n, 0);
    }
}
#define EXPECT(...)                                                                                          \
    do {                                                                                                     \
        static const struct expectation cases[] = {__VA_ARGS__};                                             \
        expect_all(cases, sizeof cases / sizeof *cases);                                                     \
    } while (0)

static void test_simple(void **state)
{
    (void)state;
    EXPECT({"a@b", "a@b"}, {"  a@b\r\n", "a@b"}, {"<a@b>", "a@b"}, {"A B <a@b>", "A B <a@b>"},
        {"\"A, B\" <a@b>, c@d", "A, B <a@b>|c@d"}, {"a@b,c@d,\r\n\te@f", "a@b|c@d|e@f"},
        {"a@b , c@d", "a@b|c@d"}, {"John Q. Public <j@p>", "John Q. Public <j@p>"},
        {"o'brien+x@a-b.example.com", "o'brien+x@a-b.example.com"}, {"A\r\n B <a@b>", "A B <a@b>"},
        {"\"A\r\n B\" <a@b>", "A B <a@b>"}, {"\"A\"B <a@b>", "AB <a@b>"});
}

static void test_stray(void **state)
{
    (void)state;
    EXPECT({",a@b,,c@d,", "a@b|c@d"}, {"a@b; c@d;", "a@b|c@d"}, {" , ; ,", NULL}, {"", NULL}, {"\r\n ", NULL},
        {"(only a comment)", NULL});
}

static void test_comments(void **state)
{
    (void)state;
    EXPECT({"a(x)@(y)b(z)", "z <a@b>"}, {"a@b (John Doe)", "John Doe <a@b>"},
        {"a@b (a (nested) \\) one)", "a (nested) ) one <a@b>"}, {"John (the) Doe <a@b>", "John Doe <a@b>"},
        {"<a(x, y)@b> (text, more)", "a@b"}, {"a(x)@b", "a@b"}, {"a@b(x).c", "a@b.c"},
        {"a@b () (x) (y)", "x <a@b>"}, {"(c) a@b", "a@b"}, {"a@b ()", "a@b"}, {"a@b (open", NULL},
        {"a@b (open ()", NULL}, {"a@b )", NULL}, {"x)y <a@b>", "x)y <a@b>"},
        {"a@b (one), c@d", "one <a@b>|c@d"}, {"a@b (A\r\n B)", "A B <a@b>"});
}

static void test_quotes(void **state)
{
    (void)state;
    EXPECT({"\"a b\"@c", "\"a b\"@c"}, {"\"a\"@b", "a@b"}, {"\"a.b\"@c", "a.b@c"},
        {"\"a..b\"@c", "\"a..b\"@c"}, {"\"a\\\"b\"@c", "\"a\\\"b\"@c"}, {"\"a\\b\"@c", "ab@c"},
        {"\"\"@c", "\"\"@c"}, {"a.\"b c\".d@e", "\"a.b c.d\"@e"}, {"\"a\".b@c", "a.b@c"},
        {"\"a>b\" <c@d>", "a>b <c@d>"}, {"<\"a>b\"@c>", "\"a>b\"@c"}, {"\"a@b\"@c", "\"a@b\"@c"},
        {"\"a\\\\\" <c@d>", "a\\ <c@d>"}, {"\"open <a@b>", NULL}, {"\"open\\\" <a@b>", NULL},
        {"\"a\"b@c", NULL}, {"\" a  b \" <c@d>", "a b <c@d>"}, {"\"\" <c@d>", "c@d"}, {"\"a\"@\"b\"", NULL});
}

static void test_groups(void **state)
{
    (void)state;
    EXPECT({"G: a@b, C <c@d>;", "a@b|C <c@d>"}, {"undisclosed-recipients:;", ""}, {"G:;,H: ;", ""},
        {"G: , ;", ""}, {"G: a@b", "a@b"}, {"G: a@b; c@d", "a@b|c@d"}, {"G: a@b;, H: c@d;", "a@b|c@d"},
        {"\"G; x\": a@b;", "a@b"}, {"G (c:d): a@b;", "a@b"}, {"G: H: a@b;;", NULL}, {": a@b;", NULL},
        {"G: no address here;", NULL}, {"x@y, G:;", "x@y"});
}

static void test_routes_and_literals(void **state)
{
    (void)state;
    EXPECT({"<@a,@b:c@d>", "c@d"}, {"X <@a:c@d>", "X <c@d>"}, {"<@a , @b : c@d>", "c@d"}, {"<@a c@d>", NULL},
        {"<@a:>", NULL}, {"<@[1:2]:c@d>", "c@d"}, {"a@[192.0.2.1]", "a@[192.0.2.1]"},
        {"<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"}, {"a@[ 192.0.2.1 ]", "a@[192.0.2.1]"},
        {"a@[1.2", NULL}, {"a@[1]b", NULL}, {"[x, y] <a@b>", NULL}, {"[x] <a@b>", "[x] <a@b>"});
}

static void test_blanks_and_dots(void **state)
{
    (void)state;
    EXPECT({"a . b @ c . d", "a.b@c.d"}, {"< a@b >", "a@b"}, {"a\r\n @b", "a@b"}, {"a..b@c", "a..b@c"},
        {".a@c", ".a@c"}, {"a b@c", NULL}, {"John a@b", NULL}, {"a@b c", NULL}, {"a@b.c d@e", NULL});
}

static void test_no_guess(void **state)
{
    (void)state;
    EXPECT({"John", NULL}, {"John Doe", NULL}, {"a@", NULL}, {"@b", NULL}, {"<>", NULL}, {"< >", NULL},
        {"A <>", NULL}, {"a@b@c", NULL}, {"<a@b", NULL}, {"a@b>", NULL}, {"<<a@b>>", NULL},
        {"<a@b> <c@d>", NULL}, {"<a@b> c", NULL}, {"a@b, nobody", NULL}, {"a@b, c@d, e f", NULL},
        {"a@b\\c", NULL}, {"a\001@b", NULL}, {"\"a\001\"@b", NULL}, {"a@b\177", NULL}, {"@@", NULL},
        {"<", NULL}, {">", NULL}, {"\"", NULL}, {"(", NULL}, {"[", NULL}, {"@[", NULL}, {"\\", NULL},
        {":", NULL});
}

static void test_lenient_names(void **state)
{
    (void)state;
    EXPECT({"a@b <c@d>", "a@b <c@d>"}, {"J. @ Work <a@b>", "J. @ Work <a@b>"}, {"A\\B <a@b>", "A\\B <a@b>"},
        {"=?utf-8?q?J=C3=B6?= =?utf-8?b?w7Y=?= <a@b>", "=?utf-8?q?J=C3=B6?= =?utf-8?b?w7Y=?= <a@b>"},
        {"=?utf-8?q?x=0D=0ABcc:_y?= <a@b>", "=?utf-8?q?x=0D=0ABcc:_y?= <a@b>"},
        {"=?utf-8?q?Doe,_\"J(?= <a@b>, c@d", "=?utf-8?q?Doe,_\"J(?= <a@b>|c@d"},
        {"=?x?q?a b?= <a@b>", "=?x?q?a b?= <a@b>"}, {"=?x?qq?,?= <a@b>", NULL},
        {"\"=?utf-8?q?a?=\" <a@b>", "=?utf-8?q?a?= <a@b>"},
        {"=?utf-8?q?a<x@y>?= <a@b>", "=?utf-8?q?a<x@y>?= <a@b>"}, {"A\001B\177C <a@b>", "A B C <a@b>"},
        {"x @[(\") y <a@b>", NULL}, {"x @[(] y <a@b>", "x @[ ] y <a@b>"},
        {"J\xc3\xb6rg <a@b>", "J\xc3\xb6rg <a@b>"},
        {"j\xc3\xb6rg@b\xc3\xbc.example", "j\xc3\xb6rg@b\xc3\xbc.example"},
        {"\xff\xfe <a@b>", "\xff\xfe <a@b>"});
}

static void test_nul(void **state)
{
    (void)state;
    static const char in_name[] = "A\0B <a@b>", in_address[] = "a\0b@c", in_comment[] = "a@b (x\0y)";
    struct mailbox_list list;
    assert_int_equal(mailbox_list_parse(in_name, sizeof in_name - 1, MAX, &list, NULL), 0);
    assert_string_equal(list.items[0].display, "A B");
    mailbox_list_release(&list);
    assert_int_equal(mailbox_list_parse(in_comment, sizeof in_comment - 1, MAX, &list, NULL), 0);
    assert_string_equal(list.items[0].display, "x y");
    mailbox_list_release(&list);
    assert_int_equal(mailbox_list_parse(in_address, sizeof in_address - 1, MAX, &list, NULL), -EBADMSG);
}

static void test_max(void **state)
{
    (void)state;
    struct mailbox_list list;
    const char *problem = NULL;
    assert_int_equal(mailbox_list_parse("a@b,c@d", 7, 2, &list, NULL), 0);
    assert_int_equal(list.n, 2);
    mailbox_list_release(&list);
    assert_int_equal(mailbox_list_parse("a@b,c@d", 7, 1, &list, &problem), -E2BIG);
    assert_non_null(problem);
    assert_int_equal(mailbox_list_parse("a@b", 3, 0, &list, NULL), -E2BIG);
}

static void test_local(void **state)
{
    (void)state;
    static const char text[] = "root (Cron Daemon), <admin>, \"a b\", c@d, G: x;";
    struct mailbox_list list;
    char joined[200];
    assert_int_equal(mailbox_list_parse_local(text, sizeof text - 1, "e.example", MAX, &list, NULL), 0);
    join(&list, joined, sizeof joined);
    assert_string_equal(
        joined, "Cron Daemon <root@e.example>|admin@e.example|\"a b\"@e.example|c@d|x@e.example");
    mailbox_list_release(&list);
    assert_int_equal(mailbox_list_parse_local("a b", 3, "e.example", MAX, &list, NULL), -EBADMSG);
    assert_int_equal(mailbox_list_parse_local("a@", 2, "e.example", MAX, &list, NULL), -EBADMSG);
    assert_int_equal(mailbox_list_parse_local("<>", 2, "e.example", MAX, &list, NULL), -EBADMSG);
}

static void test_mailbox(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "a", "a@b, c@d", "G: a@b", "G:;", "A <a b@c>", "<a..b@c>", "a@-b", "x <>"};
    struct mailbox mailbox = {0};
    assert_null(mailbox_parse("Acme Voicemail <voicemail@acme.example>", &mailbox));
    assert_string_equal(mailbox.display, "Acme Voicemail");
    assert_string_equal(mailbox.address, "voicemail@acme.example");
    mailbox_release(&mailbox);
    assert_null(mailbox.address);
    assert_null(mailbox_parse("a@b", &mailbox));
    assert_null(mailbox.display);
    mailbox_release(&mailbox);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (i == 3) {
            assert_null(mailbox_parse(bad[i], &mailbox)); // a group of one is one mailbox
            mailbox_release(&mailbox);
        } else if (mailbox_parse(bad[i], &mailbox) == NULL) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void test_problem(void **state)
{
    (void)state;
    static const char *const good[] = {"a@b", "a.b+c@d.example", "\"a@b\"@c", "\"a\\\"b\"@c", "a@[192.0.2.1]",
        "a@[IPv6:2001:db8::1]", "a@[ipv6:::1]", "j\xc3\xb6@b\xc3\xbc.example", "a@x_y.example",
        "!#$%&'*+-/=?^_`{|}~@b", "a@1.2", "\"\"@b", "a@xn--bcher-kva.example"};
    static const char *const bad[] = {"", "a", "@b", "a@", "a b@c", "\"a b\"@c", "\"a<\"@b", "a>@b", "a@b>",
        "a\n@b", "a@b\r\nRCPT TO:<c@d>", "a@b\n", "\t@b", "a\177@b", "\xff@b", "a@\xc0\xaf", "a\xc2\x85@b",
        "a\xe2\x80\xa8@b", "a\xc2\xa0@b", "a..b@c", ".a@b", "a.@b", "a@b..c", "a@.b", "a@b.", "a@-b", "a@b-",
        "a@b.-c.d", "a@[1.2.3]", "a@[IPv6:1]", "a@[]", "a@[IPv6:]", "a@[x:y]", "a@[1.2.3.4", "a@[1.2.3.4]x",
        "\"a@b", "\"a\"b@c", "\"a\"b\"@c", "\"a\\\"@c", "a,b@c", "a;b@c", "a:b@c", "a(b)@c", "a@b@c", "a@b,c",
        "a@b;c", "a@b/c", "a@b%c", "a\\b@c", "<a@b>", "a@b c", "\"a\tb\"@c"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const char *problem = address_problem(good[i]);
        if (problem != NULL)
            fail_msg("%s: %s", good[i], problem);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (address_problem(bad[i]) == NULL)
            fail_msg("accepted: %s", bad[i]);
    }
}

// local@domain with so many octets each, the domain in labels of at most 63.
static const char *problem_of_lengths(size_t local, size_t domain)
{
    static char address[2000];
    memset(address, 'l', local);
    address[local] = '@';
    for (size_t i = 0; i < domain; i++)
        address[local + 1 + i] = i % 64 == 63 ? '.' : 'd';
    address[local + 1 + domain] = 0;
    return address_problem(address);
}

static void test_lengths(void **state)
{
    (void)state;
    assert_null(problem_of_lengths(64, 100));
    assert_non_null(problem_of_lengths(65, 100));
    assert_null(problem_of_lengths(1, 252));
    assert_non_null(problem_of_lengths(1, 253)); // 255 octets in all
    assert_null(problem_of_lengths(64, 189));
    assert_non_null(problem_of_lengths(64, 190));
    assert_non_null(problem_of_lengths(1, 256 + 3));
    assert_non_null(problem_of_lengths(1000, 900));
    char label[80] = "a@";
    memset(label + 2, 'd', 63);
    assert_null(address_problem(label));
    label[65] = 'd';
    assert_non_null(address_problem(label));
}

static void test_same_and_utf8(void **state)
{
    (void)state;
    assert_true(address_same("a@b.Example", "a@B.eXAMPLE"));
    assert_false(address_same("A@b", "a@b"));
    assert_false(address_same("a@b", "a@bc"));
    assert_false(address_same("aa@b", "a@b"));
    assert_true(address_same("a", "a"));
    assert_false(address_same("a", "A"));
    assert_false(address_same("a", "a@b"));
    assert_true(address_needs_smtputf8("j\xc3\xb6@b"));
    assert_false(address_needs_smtputf8("j@b\xc3\xbc"));
    assert_false(address_needs_smtputf8("j@b"));
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// A megabyte of what could make a parser walk in circles: an answer in linear time, whichever it is.
static void test_hostile(void **state)
{
    (void)state;
    static const char *const units[] = {"(", ")", "()", "((", "\"", "\\", "<", ">", "<>", "@", "a@", "a@b,",
        "[", "@[", "]", ",", ";", ":", "a:", "G:;", "a", ".", "a.", "a (", "x@[(", "(a) ", "=?a", "=?a?q?",
        "=?a?q?x?=", "?", "\\(", "\"\"", "<@a,", "=?", "\r\n ", "a b ", "\xff", "@[(]<a@b>,", "@[\"]", "(\\"};
    const size_t size = 1 << 20;
    char *text = malloc(size);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        size_t length = strlen(units[i]);
        for (int wrap = 0; wrap < 2; wrap++) {
            for (size_t at = 0; at < size; at++)
                text[at] = units[i][at % length];
            if (wrap)
                memcpy(text + size - 6, " <a@b>", 6);
            struct mailbox_list list;
            double start = seconds();
            if (mailbox_list_parse(text, size, 2000000, &list, NULL) == 0)
                mailbox_list_release(&list);
            if (seconds() - start > 5)
                fail_msg("'%s' took %.1f s", units[i], seconds() - start);
        }
    }
    free(text);
}

static void test_comment_depth(void **state)
{
    (void)state;
    for (int depth = ADDRESS_COMMENT_DEPTH_MAX; depth <= ADDRESS_COMMENT_DEPTH_MAX + 1; depth++) {
        char text[500] = "a@b";
        memset(text + 3, '(', (size_t)depth);
        memset(text + 3 + depth, ')', (size_t)depth);
        struct mailbox_list list;
        int r = mailbox_list_parse(text, 3 + 2 * (size_t)depth, 1, &list, NULL);
        assert_int_equal(r, depth > ADDRESS_COMMENT_DEPTH_MAX ? -EBADMSG : 0);
        if (r == 0)
            mailbox_list_release(&list);
    }
}

// Pseudo-random text of the characters that mean something, from a fixed seed: no crash, and what comes out
// as an address has one '@' at least. Each text lies in a block of its own, so that the sanitizer sees its
// ends.
static void test_random(void **state)
{
    (void)state;
    static const char alphabet[] = "ab.@<>()[]\",;:\\ \r\n\t\001\xc3=?";
    uint32_t seed = 12345;
    for (int round = 0; round < 200000; round++) {
        seed = seed * 1664525 + 1013904223;
        size_t length = (seed >> 16) % 24;
        char *text = malloc(length + 1);
        for (size_t i = 0; i < length; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
        }
        char *exact = realloc(text, length > 0 ? length : 1);
        struct mailbox_list list;
        if (mailbox_list_parse(exact, length, 10, &list, NULL) == 0) {
            for (size_t i = 0; i < list.n; i++)
                assert_non_null(strchr(list.items[i].address, '@'));
            mailbox_list_release(&list);
        }
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_stray),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_routes_and_literals),
        cmocka_unit_test(test_blanks_and_dots),
        cmocka_unit_test(test_no_guess),
        cmocka_unit_test(test_lenient_names),
        cmocka_unit_test(test_nul),
        cmocka_unit_test(test_max),
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_mailbox),
        cmocka_unit_test(test_problem),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_same_and_utf8),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_comment_depth),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
