// The same for GMime: see parse_outtray.c. Names come out decoded, in UTF-8.
#include <gmime/gmime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_string(const char *text)
{
    putchar('"');
    for (; text != NULL && *text != 0; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < ' ' || c > 126 || c == '"' || c == '\\')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void print_members(InternetAddressList *list, int *n)
{
    for (int i = 0; i < internet_address_list_length(list); i++) {
        InternetAddress *address = internet_address_list_get_address(list, i);
        if (INTERNET_ADDRESS_IS_GROUP(address)) {
            print_members(internet_address_group_get_members(INTERNET_ADDRESS_GROUP(address)), n);
            continue;
        }
        printf((*n)++ > 0 ? ", [" : "[");
        print_string(internet_address_get_name(address));
        printf(", ");
        print_string(internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(address)));
        printf("]");
    }
}

static void print_list(const char *data)
{
    InternetAddressList *list = internet_address_list_parse(NULL, data);
    int n = 0;
    if (list == NULL) {
        printf("{\"problem\": \"no list\"}\n");
        return;
    }
    printf("{\"list\": [");
    print_members(list, &n);
    printf("]}\n");
    g_object_unref(list);
}

static void print_block(const char *data, size_t length)
{
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer(data, length);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    g_mime_parser_set_format(
        parser, strncmp(data, "From ", 5) == 0 ? GMIME_FORMAT_MBOX : GMIME_FORMAT_MESSAGE);
    GMimeMessage *message = g_mime_parser_construct_message(parser, NULL);
    if (message == NULL) {
        printf("{\"problem\": \"no message\"}\n");
    } else {
        GMimeHeaderList *headers = g_mime_object_get_header_list(GMIME_OBJECT(message));
        printf("{\"body\": %lld, \"fields\": [", (long long)g_mime_parser_get_headers_end(parser));
        for (int i = 0; i < g_mime_header_list_get_count(headers); i++) {
            GMimeHeader *header = g_mime_header_list_get_header_at(headers, i);
            printf(i > 0 ? ", [" : "[");
            print_string(g_mime_header_get_name(header));
            printf(", ");
            print_string(g_mime_header_get_raw_value(header));
            printf("]");
        }
        printf("]}\n");
        g_object_unref(message);
    }
    g_object_unref(parser);
    g_object_unref(stream);
}

static int nibble(char c)
{
    return c >= 'a' ? c - 'a' + 10 : c - '0';
}

int main(void)
{
    static char line[1000000];
    g_mime_init();
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t length = strcspn(line + 2, "\n") / 2;
        char *data = malloc(length + 1);
        for (size_t i = 0; i < length; i++)
            data[i] = (char)(nibble(line[2 + 2 * i]) << 4 | nibble(line[3 + 2 * i]));
        data[length] = 0;
        if (line[0] == 'L')
            print_list(data);
        else
            print_block(data, length);
        free(data);
    }
    g_mime_shutdown();
    return 0;
}
