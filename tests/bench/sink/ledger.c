// Answers as the address asks for, and keeps accounts (see ledger.h).
#include "ledger.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct ledger_head *head;
static struct ledger_entry *entries;

static void count(uint8_t *counter)
{
    if (*counter < UINT8_MAX)
        ++*counter;
}

static uint16_t generation_now(void)
{
    uint32_t generation = atomic_load(&head->generation);
    return (uint16_t)(generation < LEDGER_GENERATIONS_MAX ? generation : LEDGER_GENERATIONS_MAX - 1);
}

static const char *login(void)
{
    uint32_t every = atomic_load(&head->refuse_every);
    head->logins++;
    if (every == 0 || head->logins % every)
        return "235 2.7.0 Ok\r\n";
    head->refused_logins++;
    return "535 5.7.8 wrong, for once\r\n";
}

static const char *recipient(struct dialogue *dialogue, const char *address)
{
    char verdict = '\0';
    unsigned slot = LEDGER_SLOTS, serial = 0;
    if (sscanf(address, "<%c.%u.%u@", &verdict, &slot, &serial) != 3 || slot >= LEDGER_SLOTS ||
        serial >= head->messages) {
        head->strangers++;
        return "550 5.1.1 a stranger\r\n";
    }
    struct ledger_entry *entry = &entries[serial];
    unsigned tried = entry->tried[slot];
    count(&entry->tried[slot]);
    if (verdict == 'f')
        return "550 5.1.1 no such user\r\n";
    if ((verdict == 'd' && tried < 2) || (verdict == 'h' && tried < 14))
        return "451 4.3.0 try later\r\n";
    if (!dialogue->accepted) {
        dialogue->judged.serial = serial;
        dialogue->judged.slots = 0;
        dialogue->judged.verdict = verdict;
    }
    dialogue->judged.slots |= (uint8_t)(1u << slot);
    return "250 2.1.5 Ok\r\n";
}

// Books the message as accepted.
static void book(struct dialogue *dialogue, struct ledger_entry *entry, uint64_t id)
{
    uint16_t generation = dialogue->judged.generation;
    bool again = false;
    for (unsigned slot = 0; slot < LEDGER_SLOTS; slot++) {
        if (!(dialogue->judged.slots & 1u << slot))
            continue;
        again = again || entry->accepted[slot];
        count(&entry->accepted[slot]);
    }
    if (again && entry->generation == generation)
        head->generations[generation].repeats++;
    else if (again)
        head->generations[entry->generation].repeats_kill++;
    head->generations[generation].accepted++;
    entry->generation = generation;
    head->unknown_ids += id == 0;
    head->other_ids += entry->id_hash && entry->id_hash != id;
    entry->id_hash = id;
}

static const char *message(struct dialogue *dialogue, uint64_t id)
{
    struct ledger_entry *entry = &entries[dialogue->judged.serial];
    char verdict = dialogue->judged.verdict;
    unsigned ended = entry->ended;
    count(&entry->ended);
    if (verdict == 'e' && ended == 0)
        return "452 4.3.1 no room for it now\r\n";
    if (verdict == 'g')
        return "554 5.6.0 not this one\r\n";
    book(dialogue, entry, id);
    if (verdict != 'x' || entry->dropped)
        return "250 2.0.0 Ok: in the books\r\n";
    entry->dropped = 1;
    head->generations[dialogue->judged.generation].dropped++;
    return NULL;
}

const struct sink_judge *ledger_open(const char *path)
{
    static const struct sink_judge judge = {.login = login, .recipient = recipient, .message = message};
    struct stat stat;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *map = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &stat) == 0 && (size_t)stat.st_size >= sizeof *head)
        map = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        fprintf(stderr, "sink: cannot use %s as a ledger\n", path);
        exit(1);
    }
    close(fd);
    head = map;
    entries = (struct ledger_entry *)(head + 1);
    head->messages = (uint32_t)(((size_t)stat.st_size - sizeof *head) / sizeof *entries);
    return &judge;
}

void ledger_connected(struct dialogue *dialogue)
{
    dialogue->judged.generation = generation_now();
}
