// The parser of address lists (see address.h): RFC 5322 section 3.4 with its obsolete forms (4.4), leniently.
//
// The text is cut at the characters that structure it (',' ';' ':' '<'), and each piece is read on its own:
// what stands before '<' is only a name, whatever it looks like. Each octet is looked at a fixed number of
// times, and nothing recurs.
#include "address.h"
#include "address_lex.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_FIRST 4

struct parser {
    const char *p, *end;
    const char *domain; // for addresses without one; NULL where these are errors
    struct address_lex lex;
    struct mailbox_list list;
    size_t capacity, max;
    bool in_group, saw_group;
    bool salvage; // what is no address is listed with its problem
};

static int add_mailbox(struct parser *parser, struct mailbox *mailbox)
{
    struct mailbox_list *list = &parser->list;
    if (list->n == parser->max) {
        address_fail(&parser->lex, "it has too many addresses");
        return -E2BIG;
    }
    if (list->n == parser->capacity) {
        size_t capacity = parser->capacity == 0 ? LIST_FIRST : 2 * parser->capacity;
        struct mailbox *items = reallocarray(list->items, capacity, sizeof *items);
        if (items == NULL) {
            address_fail(&parser->lex, address_no_memory);
            return -ENOMEM;
        }
        list->items = items;
        parser->capacity = capacity;
    }
    list->items[list->n++] = *mailbox;
    *mailbox = (struct mailbox){0};
    return 0;
}

// The address within angle brackets that start at `open`; the name before it is in `name`.
static int read_angle(
    struct parser *parser, struct address_text name, const char *open, struct mailbox *mailbox)
{
    const char *close = address_find_any(&parser->lex, open + 1, parser->end, "<>");
    if (close != NULL && (close == parser->end || *close == '<'))
        close = address_fail(&parser->lex, "it has an angle bracket without its mate");
    if (close == NULL || address_make_name(&parser->lex, name, false, &mailbox->display) < 0)
        return -EBADMSG;
    mailbox->address = address_read(&parser->lex, open + 1, close, parser->domain, true);
    if (mailbox->address == NULL)
        return -EBADMSG;
    parser->p = address_skip_space(&parser->lex, close + 1, parser->end);
    parser->lex.comment = (struct address_text){0}; // only where there are no brackets a comment is a name
    if (parser->p != NULL && parser->p < parser->end && *parser->p != ',' && *parser->p != ';')
        parser->p = address_fail(&parser->lex, "it has text behind an address");
    return parser->p == NULL ? -EBADMSG : 0;
}

// One element of the list: an address, or the start of a group. parser->p stands on its first octet.
static int read_element(struct parser *parser, struct mailbox *mailbox)
{
    const char *start = parser->p;
    const char *stop = address_find_any(&parser->lex, start, parser->end, ",;:<");
    int r = 0;
    if (stop == NULL)
        return -EBADMSG;
    if (stop < parser->end && *stop == ':') {
        if (parser->in_group || stop == start) {
            address_fail(&parser->lex, stop == start ? address_none : "it has a group within a group");
            return -EBADMSG;
        }
        parser->in_group = parser->saw_group = true;
        parser->p = stop + 1;
        return 0;
    }
    parser->lex.comment = (struct address_text){0};
    if (stop < parser->end && *stop == '<') {
        r = read_angle(parser, (struct address_text){start, stop}, stop, mailbox);
    } else {
        mailbox->address = address_read(&parser->lex, start, stop, parser->domain, false);
        parser->p = stop;
        r = mailbox->address != NULL ? 0 : -EBADMSG;
    }
    if (r == 0 && mailbox->display == NULL && parser->lex.comment.start != NULL)
        r = address_make_name(&parser->lex, parser->lex.comment, true, &mailbox->display);
    return r < 0 ? r : add_mailbox(parser, mailbox);
}

// Behind the piece that starts at p and gives no address: the next comma or semicolon that is in no brackets,
// or the end where a quote, comment or literal has none.
static const char *find_piece_end(const char *p, const char *end)
{
    struct address_lex scratch = {0};
    const char *stop = address_find_any(&scratch, p, end, ",;<");
    while (stop != NULL && stop < end && *stop == '<') {
        const char *close = address_find_any(&scratch, stop + 1, end, "<>");
        if (close == NULL)
            return end;
        bool closed = close < end && *close == '>';
        stop = address_find_any(&scratch, closed ? close + 1 : stop + 1, end, closed ? ",;<" : ",;");
    }
    return stop != NULL ? stop : end;
}

// Lists the piece that starts at `start` with its problem, and goes on behind it. 0, or why the whole parsing
// ends.
static int salvage_piece(struct parser *parser, const char *start, int error)
{
    if (!parser->salvage || error == -E2BIG || parser->lex.problem == address_no_memory)
        return error;
    parser->p = find_piece_end(start, parser->end);
    struct mailbox mailbox = {.problem = parser->lex.problem};
    mailbox.address = malloc((size_t)(parser->p - start) + 1);
    if (mailbox.address == NULL) {
        parser->lex.problem = address_no_memory;
        return -ENOMEM;
    }
    size_t n = 0;
    for (const char *p = start; p < parser->p; p++) {
        if (!address_is_blank(*p))
            mailbox.address[n++] = *p != 0 ? *p : '?';
        else if (n > 0 && mailbox.address[n - 1] != ' ')
            mailbox.address[n++] = ' ';
    }
    mailbox.address[n > 0 && mailbox.address[n - 1] == ' ' ? n - 1 : n] = 0;
    parser->lex.problem = NULL;
    int r = add_mailbox(parser, &mailbox);
    mailbox_release(&mailbox);
    return r;
}

static int read_list(struct parser *parser)
{
    for (;;) {
        const char *start = parser->p;
        parser->p = address_skip_space(&parser->lex, start, parser->end);
        if (parser->p == parser->end)
            break;
        if (parser->p == NULL) {
            int r = salvage_piece(parser, start, -EBADMSG);
            if (r < 0)
                return r;
            continue;
        }
        if (*parser->p == ',' || *parser->p == ';') { // also stray ones
            parser->in_group = parser->in_group && *parser->p == ',';
            parser->p++;
            continue;
        }
        struct mailbox mailbox = {0};
        start = parser->p;
        int r = read_element(parser, &mailbox);
        mailbox_release(&mailbox);
        if (r < 0)
            r = salvage_piece(parser, start, r);
        if (r < 0)
            return r;
    }
    if (parser->list.n == 0 && !parser->saw_group && !parser->salvage) {
        address_fail(&parser->lex, "it has no address");
        return -EBADMSG;
    }
    return 0;
}

static int parse(struct parser *parser, struct mailbox_list *ret_list, const char **ret_problem)
{
    int r = read_list(parser);
    if (r < 0) {
        mailbox_list_release(&parser->list);
        if (ret_problem != NULL)
            *ret_problem = parser->lex.problem;
        return parser->lex.problem == address_no_memory ? -ENOMEM : r;
    }
    *ret_list = parser->list;
    return 0;
}

int mailbox_list_parse_local(const char *text, size_t length, const char *domain, size_t max,
    struct mailbox_list *ret_list, const char **ret_problem)
{
    struct parser parser = {.p = text, .end = text + length, .domain = domain, .max = max};
    return parse(&parser, ret_list, ret_problem);
}

int mailbox_list_salvage(
    const char *text, size_t length, const char *domain, size_t max, struct mailbox_list *ret_list)
{
    struct parser parser = {.p = text, .end = text + length, .domain = domain, .max = max, .salvage = true};
    return parse(&parser, ret_list, NULL);
}

int mailbox_list_parse(
    const char *text, size_t length, size_t max, struct mailbox_list *ret_list, const char **ret_problem)
{
    return mailbox_list_parse_local(text, length, NULL, max, ret_list, ret_problem);
}

void mailbox_list_release(struct mailbox_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        mailbox_release(&list->items[i]);
    free(list->items);
    *list = (struct mailbox_list){0};
}

const char *mailbox_parse(const char *text, struct mailbox *ret_mailbox)
{
    struct mailbox_list list;
    const char *problem = address_none;
    int r = mailbox_list_parse(text, strlen(text), 1, &list, &problem);
    if (r < 0)
        return r == -E2BIG ? "it has more than one address" : problem;
    if (list.n == 1)
        problem = address_problem(list.items[0].address);
    else
        problem = "it has no address";
    if (problem == NULL) {
        *ret_mailbox = list.items[0];
        list.n = 0;
    }
    mailbox_list_release(&list);
    return problem;
}

void mailbox_release(struct mailbox *mailbox)
{
    free(mailbox->display);
    free(mailbox->address);
    *mailbox = (struct mailbox){0};
}
