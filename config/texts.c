// The rules of texts.h. Everything here is pure; nothing is looked up on the machine.
#include "texts.h"
#include "units.h"
#include <arpa/inet.h>
#include <string.h>

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool has_control(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++)
        if (*at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0))
            return true;
    return false;
}

// Whether every octet is a letter, a digit or one of others.
static bool consists_of(const char *text, const char *others)
{
    for (; *text; text++)
        if (!is_alnum(*text) && !strchr(others, *text))
            return false;
    return true;
}

const char *text_name(const char *text, const struct config_checks *checks)
{
    (void)checks;
    if (!*text)
        return "a name cannot be empty";
    if (text[0] == '.')
        return "a name cannot begin with a dot: it is a file name, and those are hidden";
    if (strchr(text, '/'))
        return "a name cannot hold a slash: it is a file name";
    if (has_control(text))
        return "a name cannot hold control characters";
    return strlen(text) > TEXT_NAME_MAX ? "a name cannot be longer than 100 octets: it is a file name" : NULL;
}

const char *text_tenant_name(const char *text, const struct config_checks *checks)
{
    if (strcmp(text, ".agents") == 0)
        return "`.agents` is the spool's own directory; choose another name";
    return text_name(text, checks);
}

static const char *host_problem(const char *text, const char *others)
{
    size_t length = strlen(text), label = 0;
    if (length > TEXT_DOMAIN_MAX + 1)
        return "a host name cannot be longer than 253 characters";
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] >= 0x80)
            return "must be written in ASCII; international names as their A-label (xn--…)";
        if (text[i] == '.') {
            if (label == 0)
                return "must be a host name; an empty part between dots is none";
            label = 0;
        } else if (!is_alnum(text[i]) && !strchr(others, text[i])) {
            return "must be a host name: letters, digits, hyphens and dots";
        } else if (++label > TEXT_LABEL_MAX) {
            return "must be a host name; a part between dots cannot be longer than 63 characters";
        }
        bool edge = label == 1 || i + 1 == length || text[i + 1] == '.';
        if (text[i] == '-' && edge)
            return "must be a host name; its parts cannot begin or end with a hyphen";
    }
    return NULL;
}

const char *text_domain(const char *text, const struct config_checks *checks)
{
    (void)checks;
    if (text[strlen(text) - 1] == '.')
        return "must not end in a dot";
    if (strchr(text, '@'))
        return "must be the part behind the @ only";
    return host_problem(text, "-");
}

static bool is_ip(const char *text)
{
    struct in6_addr address;
    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

const char *text_server(const char *text, const struct config_checks *checks)
{
    (void)checks;
    size_t length = strlen(text);
    char inner[INET6_ADDRSTRLEN];
    if (is_ip(text))
        return NULL;
    if (text[0] == '[') {
        if (length < 3 || length - 2 >= sizeof(inner) || text[length - 1] != ']')
            return "must be an IPv6 address inside of the brackets";
        memcpy(inner, text + 1, length - 2);
        inner[length - 2] = '\0';
        return is_ip(inner) ? NULL : "must be an IPv6 address inside of the brackets";
    }
    if (strstr(text, "://"))
        return "must be a host name, not a URL";
    if (strchr(text, ':'))
        return "must be a host name or an address; the port has its own key, `port`";
    if (strspn(text, "0123456789.") == length)
        return "is no IPv4 address";
    return host_problem(text, "-_");
}

const char *text_absolute(const char *text, const struct config_checks *checks)
{
    (void)checks;
    if (text[0] != '/')
        return "must be an absolute path, beginning with /";
    return has_control(text) ? "a path cannot hold control characters" : NULL;
}

const char *text_secret_file(const char *text, const struct config_checks *checks)
{
    if (text[0] == '/')
        return text_absolute(text, checks);
    if (strchr(text, '/') || text[0] == '.' || has_control(text))
        return "must be an absolute path, or the name of a systemd credential without slashes";
    return NULL;
}

const char *text_address(const char *text, const struct config_checks *checks)
{
    if (checks->address)
        return checks->address(text);
    return has_control(text) ? "an address cannot hold control characters" : NULL;
}

const char *text_mailbox(const char *text, const struct config_checks *checks)
{
    if (has_control(text))
        return "must be one line without control characters";
    return checks->mailbox ? checks->mailbox(text) : NULL;
}

const char *text_notify(const char *text, const struct config_checks *checks)
{
    if (strcmp(text, "none") == 0 || strcmp(text, "sender") == 0)
        return NULL;
    return strchr(text, '@') ? text_address(text, checks) : "must be none, sender or an address";
}

const char *text_url(const char *text, const struct config_checks *checks)
{
    static const char *const schemes[] = {"https://", "http://127.0.0.1", "http://[::1]", "http://localhost"};
    (void)checks;
    for (const char *at = text; *at; at++)
        if (*at <= ' ' || (unsigned char)*at >= 0x7f || strchr("\"<>\\^`|", *at))
            return "must be a URL, without blanks and in ASCII";
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        size_t length = strlen(schemes[i]);
        if (strncmp(text, schemes[i], length) != 0)
            continue;
        if (i == 0 ? is_alnum(text[length]) || text[length] == '['
                   : !text[length] || strchr(":/?", text[length]))
            return NULL;
    }
    return "must be a URL that begins with https:// (http:// only to this machine)";
}

const char *text_listen(const char *text, const struct config_checks *checks)
{
    (void)checks;
    char host[TEXT_DOMAIN_MAX + 3];
    const char *colon = strrchr(text, ':');
    int64_t port;
    if (!colon || units_parse_count(colon + 1, &port) < 0 || port < 1 || port > 65535)
        return "must be ADDRESS:PORT, such as 127.0.0.1:9464 or \"[::1]:9464\"";
    size_t length = (size_t)(colon - text);
    if (length == 0) // this machine only
        return NULL;
    if (length >= sizeof(host))
        return "a host name cannot be longer than 253 characters";
    memcpy(host, text, length);
    host[length] = '\0';
    if (strchr(host, ':') && host[0] != '[')
        return "an IPv6 address stands in brackets: \"[::1]:9464\"";
    const char *problem = text_server(host, checks);
    if (problem || host[0] == '[' || is_ip(host) || strcmp(host, "localhost") == 0)
        return problem;
    return "must be an address of this machine, or localhost; 0.0.0.0 stands for every one";
}

const char *text_group(const char *text, const struct config_checks *checks)
{
    (void)checks;
    if (strlen(text) > 32 || text[0] == '-' || !consists_of(text, "_-."))
        return "must be the name of a Unix group";
    return NULL;
}

// 44 characters of base64: the 32 octets of a SHA-256.
static bool is_pin(const char *text, size_t length)
{
    static const char prefix[] = "sha256//";
    if (length != sizeof(prefix) - 1 + 44 || memcmp(text, prefix, sizeof(prefix) - 1) != 0)
        return false;
    for (size_t i = sizeof(prefix) - 1; i < length - 1; i++)
        if (!is_alnum(text[i]) && text[i] != '+' && text[i] != '/')
            return false;
    return text[length - 1] == '=';
}

const char *text_pinned_key(const char *text, const struct config_checks *checks)
{
    (void)checks;
    for (;;) {
        size_t length = strcspn(text, ";");
        if (!is_pin(text, length))
            return "must be sha256// and the base64 of the public key's SHA-256 (44 characters); several "
                   "with `;`";
        if (!text[length])
            return NULL;
        text += length + 1;
    }
}

const char *text_directory(const char *text, const struct config_checks *checks)
{
    (void)checks;
    return consists_of(text, ".-") ? NULL : "must be common, organizations, consumers, a domain or a GUID";
}

const char *text_scope(const char *text, const struct config_checks *checks)
{
    (void)checks;
    for (; *text; text++)
        if (*text < ' ' || *text >= 0x7f || *text == '"' || *text == '\\')
            return "must be scopes with blanks between them (RFC 6749 section 3.3)";
    return NULL;
}

const char *text_login(const char *text, const struct config_checks *checks)
{
    (void)checks;
    return has_control(text) ? "cannot hold control characters" : NULL;
}
