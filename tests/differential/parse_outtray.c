// Prints how outtray parses address lists and header blocks, as JSON lines. Input lines: "L HEX" (the value
// of an address header) or "B HEX" (a message). Octets above 127 come out as \u0080 to \u00ff.
#include "spool-format/address.h"
#include "spool-format/header.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_ 1000000

static void print_string(const char *text, size_t length)
{
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < ' ' || c > 126 || c == '"' || c == '\\')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_list(const char *data, size_t length)
{
    struct mailbox_list list;
    const char *problem = NULL;
    if (mailbox_list_parse(data, length, SIZE_MAX, &list, &problem) < 0) {
        printf("{\"problem\": \"%s\"}\n", problem);
        return;
    }
    printf("{\"list\": [");
    for (size_t i = 0; i < list.n; i++) {
        const char *display = list.items[i].display != NULL ? list.items[i].display : "";
        printf(i > 0 ? ", [" : "[");
        print_string(display, strlen(display));
        printf(", ");
        print_string(list.items[i].address, strlen(list.items[i].address));
        printf("]");
    }
    printf("]}\n");
    mailbox_list_release(&list);
}

static void print_block(const char *data, size_t length)
{
    struct header_block *block;
    if (header_block_parse(data, length, true, SIZE_MAX / 2, &block) < 0) {
        printf("{\"problem\": \"refused\"}\n");
        return;
    }
    printf("{\"body\": %llu, \"fields\": [", (unsigned long long)block->body_offset);
    for (size_t i = 0; i < block->n_fields; i++) {
        char *value = header_unfold(&block->fields[i]);
        printf(i > 0 ? ", [" : "[");
        print_string(block->fields[i].name, block->fields[i].name_length);
        printf(", ");
        print_string(value, strlen(value));
        printf("]");
        free(value);
    }
    printf("]}\n");
    header_block_free(block);
}

static int nibble(char c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

int main(void)
{
    static char line[LINE_MAX_];
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t length = strcspn(line + 2, "\n") / 2;
        char *data = malloc(length > 0 ? length : 1); // exact, so that the sanitizer sees its end
        for (size_t i = 0; i < length; i++)
            data[i] = (char)(nibble(line[2 + 2 * i]) << 4 | nibble(line[3 + 2 * i]));
        if (line[0] == 'L')
            print_list(data, length);
        else
            print_block(data, length);
        free(data);
    }
    return 0;
}
