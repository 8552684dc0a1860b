// Address lists: what is taken for an address can be written to a command or is called a problem, and what
// may be written there has no octet that a server could read as something else.
#include "fuzz.h"
#include "spool-format/address.h"

static void check_mailbox(const struct mailbox *mailbox)
{
    EXPECT(mailbox->address && strrchr(mailbox->address, '@'));
    EXPECT(!mailbox->display || !strpbrk(mailbox->display, "\r\n"));
    if (address_problem(mailbox->address))
        return;
    for (const char *c = mailbox->address; *c; c++)
        EXPECT((unsigned char)*c > ' ' && *c != 127 && *c != '<' && *c != '>');
    EXPECT(strlen(mailbox->address) <= ADDRESS_MAX);
    EXPECT(address_same(mailbox->address, mailbox->address));
    (void)address_needs_smtputf8(mailbox->address);
    struct mailbox_list again = {0}; // it is an address by itself, and the same one
    EXPECT(mailbox_list_parse(mailbox->address, strlen(mailbox->address), 2, &again, NULL) == 0);
    EXPECT(again.n == 1 && strcmp(again.items[0].address, mailbox->address) == 0);
    mailbox_list_release(&again);
}

static void check_list(int result, struct mailbox_list *list, const char *problem)
{
    EXPECT(result == 0 || result == -EBADMSG || result == -E2BIG);
    EXPECT(result != -EBADMSG || problem);
    if (result)
        return;
    EXPECT(list->n <= 50);
    for (size_t i = 0; i < list->n; i++)
        check_mailbox(&list->items[i]);
    mailbox_list_release(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    struct mailbox_list list = {0};
    const char *problem = NULL;
    check_list(mailbox_list_parse(text, size, 50, &list, &problem), &list, problem);
    list = (struct mailbox_list){0};
    problem = NULL;
    check_list(mailbox_list_parse_local(text, size, "host.example", 50, &list, &problem), &list, problem);
    struct mailbox mailbox = {0};
    if (!mailbox_parse(text, &mailbox)) {
        check_mailbox(&mailbox);
        mailbox_release(&mailbox);
    }
    if (!address_problem(text)) {
        EXPECT(size >= 3 && !strpbrk(text, "\r\n<> \t"));
        EXPECT(strlen(text) <= ADDRESS_MAX);
    }
    free(text);
    return 0;
}
