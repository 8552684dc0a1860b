// Recipients without repetition: see recipients.h.
#include "recipients.h"

#include "encoded_word.h"
#include "fault.h"
#include "idn.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LINEAR_MAX       16  // up to here comparing is faster than hashing
#define SLOTS_FIRST      256 // a power of two
#define PRINTED_MAX      320 // octets kept of an address that cannot be sent to
#define CAPACITY_FIRST   4
#define FNV_OFFSET_BASIS UINT64_C(14695981039346656037)
#define FNV_PRIME        UINT64_C(1099511628211)

void recipients_init(struct recipients *recipients, size_t max)
{
    *recipients = (struct recipients){.max = max};
}

void recipient_release(struct outgoing_recipient *recipient)
{
    if (recipient->wire != recipient->address)
        free(recipient->wire);
    free(recipient->address);
    free(recipient->notify);
    free(recipient->orcpt);
}

void recipients_release(struct recipients *recipients)
{
    for (size_t i = 0; i < recipients->n; i++)
        recipient_release(&recipients->items[i]);
    free(recipients->items);
    free(recipients->slots);
    *recipients = (struct recipients){0};
}

// Addresses that are the same (address_same) hash the same: the domain counts without case.
static uint64_t hash(const char *address)
{
    const char *domain = strrchr(address, '@');
    uint64_t value = FNV_OFFSET_BASIS;
    for (const char *c = address; *c; c++) {
        bool lower = domain && c > domain && *c >= 'A' && *c <= 'Z';
        value = (value ^ (unsigned char)(lower ? *c | 0x20 : *c)) * FNV_PRIME;
    }
    return value ^ value >> 32;
}

// The slot of address: where it is, or where it would go.
static size_t find_slot(const struct recipients *recipients, const char *address)
{
    size_t slot = hash(address) & (recipients->n_slots - 1);
    while (recipients->slots[slot] &&
           !address_same(recipients->items[recipients->slots[slot] - 1].wire, address))
        slot = (slot + 1) & (recipients->n_slots - 1);
    return slot;
}

static bool has(const struct recipients *recipients, const char *address)
{
    if (recipients->slots)
        return recipients->slots[find_slot(recipients, address)];
    for (size_t i = 0; i < recipients->n; i++)
        if (address_same(recipients->items[i].wire, address))
            return true;
    return false;
}

static int grow_slots(struct recipients *recipients)
{
    size_t n_slots = recipients->n_slots ? 2 * recipients->n_slots : SLOTS_FIRST;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    free(recipients->slots);
    recipients->slots = slots;
    recipients->n_slots = n_slots;
    for (size_t i = 0; i < recipients->n; i++)
        slots[find_slot(recipients, recipients->items[i].wire)] = (uint32_t)i + 1;
    return 0;
}

static int append(struct recipients *recipients, const struct outgoing_recipient *recipient)
{
    if (recipients->n == recipients->capacity) {
        size_t capacity = recipients->capacity ? 2 * recipients->capacity : CAPACITY_FIRST;
        struct outgoing_recipient *items = realloc(recipients->items, capacity * sizeof *items);
        if (!items)
            return -ENOMEM;
        recipients->items = items;
        recipients->capacity = capacity;
    }
    recipients->items[recipients->n++] = *recipient;
    if (recipients->slots && recipients->n * 2 <= recipients->n_slots)
        recipients->slots[find_slot(recipients, recipient->wire)] = (uint32_t)recipients->n;
    else if (recipients->n > LINEAR_MAX)
        return grow_slots(recipients);
    return 0;
}

// What the status file, the log and a terminal may show of an address that is none.
static char *printable(const char *address)
{
    size_t length = strnlen(address, PRINTED_MAX);
    char *copy = length ? strndup(address, length) : strdup("(empty)");
    if (copy)
        fault_make_printable(copy);
    return copy;
}

static int make(const char *address, struct outgoing_recipient *recipient)
{
    if (!recipient->problem)
        recipient->problem = address_problem(address);
    if (!recipient->problem && text_has_8bit(address, strlen(address))) {
        recipient->problem = idn_address(address, &recipient->wire);
        if (recipient->problem == idn_no_memory)
            return -ENOMEM;
        if (!recipient->problem)
            recipient->problem = address_problem(recipient->wire);
        recipient->smtputf8 = !recipient->problem && address_needs_smtputf8(recipient->wire);
    }
    recipient->address = recipient->problem ? printable(address) : strdup(address);
    if (recipient->problem) {
        free(recipient->wire);
        recipient->wire = NULL;
    }
    if (!recipient->wire)
        recipient->wire = recipient->address;
    return recipient->address ? 0 : -ENOMEM;
}

// Takes what *recipient holds whatever the result.
static int add(struct recipients *recipients, const char *address, struct outgoing_recipient *recipient)
{
    int r = make(address, recipient);
    if (!r && has(recipients, recipient->wire)) {
        recipient_release(recipient);
        return 0;
    }
    if (!r && recipients->n == recipients->max)
        r = -E2BIG;
    size_t before = recipients->n;
    if (!r)
        r = append(recipients, recipient);
    if (r && recipients->n == before)
        recipient_release(recipient);
    return r;
}

int recipients_add(struct recipients *recipients, const char *address, char *notify, char *orcpt)
{
    struct outgoing_recipient recipient = {.notify = notify, .orcpt = orcpt};
    return add(recipients, address, &recipient);
}

int recipients_add_refused(struct recipients *recipients, const char *text, const char *problem)
{
    struct outgoing_recipient recipient = {.problem = problem};
    return add(recipients, text, &recipient);
}
