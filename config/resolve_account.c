// Accounts: presets filled in under what the file says, and checks of keys that must agree with each other.
#include "presets.h"
#include "resolve.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

// One account while it is completed.
struct work {
    struct reader *reader;
    struct account_draft *draft;
    struct config_account *account;
    struct config_path top, path; // "accounts", "accounts.NAME"
};

// The place of a key below the account ("oauth.flow": section "oauth"), else of the account's name.
static struct config_mark mark_of(const struct work *work, const char *section, const char *key)
{
    const struct tree_node *map = section ? tree_get(work->draft->map, section) : work->draft->map;
    const struct tree_node *node = map ? tree_get(map, key) : NULL;
    return node                                           ? node->mark
           : map && map != work->draft->map && map->n > 0 ? map->mark
                                                          : work->draft->key->mark;
}

// Whether the file gives a key of the account a value.
static bool is_given(const struct work *work, const char *section, const char *key)
{
    const struct tree_node *map = section ? tree_get(work->draft->map, section) : work->draft->map;
    const struct tree_node *node = tree_get(map, key);
    return node && (node->kind == TREE_SCALAR ? *node->text != '\0' : node->n > 0);
}

static void add_finding(const struct work *work, bool warning, const char *section, const char *key,
    const char *format, va_list arguments)
{
    struct config_path middle = {&work->path, section}, path = {section ? &middle : &work->path, key};
    report_finding(work->reader->report, warning, mark_of(work, section, key), &path, format, arguments);
}

__attribute__((format(printf, 4, 5))) static void complain(
    const struct work *work, const char *section, const char *key, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_finding(work, false, section, key, format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 4, 5))) static void warn(
    const struct work *work, const char *section, const char *key, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_finding(work, true, section, key, format, arguments);
    va_end(arguments);
}

static const char *join(
    struct work *work, const char *start, size_t length, const char *middle, const char *end)
{
    size_t middle_length = strlen(middle), end_length = strlen(end);
    char *text = config_arena_alloc(work->reader->arena, 1, length + middle_length + end_length + 1);
    if (!text) {
        work->reader->report->error = -ENOMEM;
        return "";
    }
    memcpy(text, start, length);
    memcpy(text + length, middle, middle_length);
    memcpy(text + length + middle_length, end, end_length);
    return text;
}

// A preset's value where the file has none, {tenant} filled in.
static void fill_url(struct work *work, const char **url, const char *preset)
{
    static const char place[] = "{tenant}";
    if (!**url)
        *url = preset;
    const char *found = strstr(*url, place);
    if (found)
        *url =
            join(work, *url, (size_t)(found - *url), work->account->oauth.tenant, found + sizeof(place) - 1);
}

static void fill_limit(const struct work *work, const char *key, unsigned *limit, unsigned preset)
{
    if (preset > 0 && !is_given(work, "limits", key))
        *limit = preset;
}

static bool is_app_flow(enum config_flow flow)
{
    return flow == CONFIG_FLOW_CLIENT_CREDENTIALS || flow == CONFIG_FLOW_SERVICE_ACCOUNT;
}

static void fill_preset(struct work *work, const struct preset *preset)
{
    struct config_account *account = work->account;
    struct config_limits *limits = &account->limits;
    struct config_oauth *oauth = &account->oauth;
    if (work->draft->servers.n == 0) {
        const char **names = config_arena_alloc(work->reader->arena, 2, sizeof(char *));
        if (!names) {
            work->reader->report->error = -ENOMEM;
            return;
        }
        names[0] = preset->server;
        work->draft->servers = (struct schema_servers){names, 1};
    }
    if (!is_given(work, NULL, "encryption"))
        account->encryption = preset->encryption;
    fill_limit(work, "connections", &limits->connections, preset->limits.connections);
    fill_limit(work, "messages_per_minute", &limits->messages_per_minute, preset->limits.messages_per_minute);
    fill_limit(work, "messages_per_day", &limits->messages_per_day, preset->limits.messages_per_day);
    fill_limit(work, "recipients_per_message", &limits->recipients_per_message,
        preset->limits.recipients_per_message);
    fill_limit(work, "recipients_per_day", &limits->recipients_per_day, preset->limits.recipients_per_day);
    if (!*oauth->tenant)
        oauth->tenant = "common";
    fill_url(work, &oauth->authorize_url, preset->authorize_url);
    fill_url(work, &oauth->token_url, preset->token_url);
    fill_url(work, &oauth->device_url, preset->device_url);
    // A token of another provider must not be told to the preset's.
    fill_url(work, &oauth->revoke_url, is_given(work, "oauth", "token_url") ? "" : preset->revoke_url);
    if (!*oauth->scope)
        oauth->scope = is_app_flow(oauth->flow) ? preset->scope_app : preset->scope;
}

static void check_google(struct work *work)
{
    const struct config_oauth *oauth = &work->account->oauth;
    if (oauth->flow == CONFIG_FLOW_DEVICE_CODE)
        complain(work, "oauth", "flow",
            "Google's device flow does not grant mail scopes; use authorization_code or service_account");
    else if (oauth->flow == CONFIG_FLOW_CLIENT_CREDENTIALS)
        complain(work, "oauth", "flow",
            "client_credentials is Microsoft's; Google's counterpart is service_account");
    else if (oauth->flow == CONFIG_FLOW_SERVICE_ACCOUNT && !is_given(work, "oauth", "key_file"))
        complain(work, "oauth", "key_file", "is missing: the JSON key file of the service account");
    else if (oauth->flow == CONFIG_FLOW_AUTHORIZATION_CODE && !is_given(work, "oauth", "client_secret_file"))
        warn(work, "oauth", "client_secret_file", "is missing; Google expects one for desktop clients too");
    if (is_given(work, "oauth", "tenant"))
        warn(work, "oauth", "tenant", "is Microsoft's and means nothing to Google");
    if (is_given(work, "oauth", "certificate_file"))
        warn(work, "oauth", "certificate_file", "is Microsoft's and means nothing to Google");
}

static void check_microsoft(struct work *work)
{
    const struct config_oauth *oauth = &work->account->oauth;
    bool secret = is_given(work, "oauth", "client_secret_file");
    bool certificate = is_given(work, "oauth", "certificate_file"), key = is_given(work, "oauth", "key_file");
    if (oauth->flow == CONFIG_FLOW_SERVICE_ACCOUNT)
        complain(work, "oauth", "flow",
            "service_account is Google's; Microsoft's counterpart is client_credentials");
    if (work->account->encryption == CONFIG_ENCRYPTION_TLS)
        complain(work, NULL, "encryption", "Microsoft's servers offer starttls at port 587 only, not tls");
    if (certificate && !key)
        complain(work, "oauth", "key_file", "is missing: the private key of certificate_file");
    if (key && !certificate && oauth->flow != CONFIG_FLOW_SERVICE_ACCOUNT)
        complain(work, "oauth", "certificate_file", "is missing: the certificate of key_file");
    if (secret && certificate)
        complain(
            work, "oauth", "client_secret_file", "cannot stand beside certificate_file; give one of them");
    if (oauth->flow != CONFIG_FLOW_CLIENT_CREDENTIALS)
        return;
    if (!secret && !certificate)
        complain(work, "oauth", "client_secret_file",
            "is missing: flow client_credentials needs it, or certificate_file and key_file");
    if (!is_given(work, "oauth", "tenant") && !is_given(work, "oauth", "token_url"))
        warn(work, "oauth", "tenant",
            "is missing; flow client_credentials needs the organization's own, not common");
}

static void check_oauth(struct work *work)
{
    bool google = work->account->auth == CONFIG_AUTH_GOOGLE;
    if (!is_given(work, "oauth", "client_id") &&
        !(google && work->account->oauth.flow == CONFIG_FLOW_SERVICE_ACCOUNT))
        complain(work, "oauth", "client_id",
            "is missing: the application (client) ID that you registered with %s",
            google ? "Google" : "Microsoft");
    if (is_given(work, NULL, "password_file"))
        warn(work, NULL, "password_file", "is not used with auth: %s", config_auth_name(work->account->auth));
    if (work->account->encryption == CONFIG_ENCRYPTION_NONE)
        warn(work, NULL, "encryption", "none sends the access token readable by anyone on the way");
    if (google)
        check_google(work);
    else
        check_microsoft(work);
}

static void check_basic(struct work *work)
{
    if (!is_given(work, NULL, "password_file"))
        complain(work, NULL, "password_file", "is missing: the file that holds the password of auth: basic");
    if (work->account->encryption == CONFIG_ENCRYPTION_NONE)
        warn(work, NULL, "encryption",
            "none sends the password readable by anyone on the way; use starttls or tls");
    for (size_t i = 0; i < work->draft->servers.n; i++)
        if (preset_host_is_microsoft(work->draft->servers.names[i])) {
            warn(work, NULL, "auth",
                "basic at a Microsoft host (%s): Microsoft switches basic SMTP AUTH off by default from the "
                "end of "
                "December 2026; use auth: microsoft",
                work->draft->servers.names[i]);
            break;
        }
}

static void check_plain(struct work *work)
{
    bool none = work->account->auth == CONFIG_AUTH_NONE;
    if (work->draft->servers.n == 0 && !is_given(work, NULL, "server"))
        complain(work, NULL, "server", "is missing: auth: %s has no preset",
            config_auth_name(work->account->auth));
    if (tree_get(work->draft->map, "oauth") && tree_get(work->draft->map, "oauth")->n > 0)
        warn(work, NULL, "oauth", "is not used with auth: %s", config_auth_name(work->account->auth));
    if (none && is_given(work, NULL, "password_file"))
        warn(work, NULL, "password_file", "is not used with auth: none; did you mean auth: basic?");
    if (!none)
        check_basic(work);
}

static void check_wire(struct work *work)
{
    const struct config_account *account = work->account;
    bool certificate = is_given(work, "tls", "certificate_file"), key = is_given(work, "tls", "key_file");
    if (account->port == 465 && account->encryption == CONFIG_ENCRYPTION_STARTTLS)
        warn(work, NULL, "port", "465 is the port of encryption: tls, but encryption is starttls");
    if (account->port == 587 && account->encryption == CONFIG_ENCRYPTION_TLS)
        warn(work, NULL, "port", "587 is the port of encryption: starttls, but encryption is tls");
    if (certificate != key)
        complain(work, "tls", certificate ? "key_file" : "certificate_file",
            "is missing: a certificate and its key go together");
    if (!account->tls.verify && !*account->tls.pinned_key && account->encryption != CONFIG_ENCRYPTION_NONE)
        warn(work, "tls", "verify",
            "false lets anyone on the way read and change the mail; use ca_file or pinned_key");
}

// The mailbox of auth: none may be left out: mail of this machine without a login comes from root@DOMAIN.
static void fill_email(struct work *work)
{
    const char *domain = work->reader->global.config.domain;
    if (!is_given(work, NULL, "email")) {
        if (work->account->auth == CONFIG_AUTH_NONE)
            work->account->email = join(work, "root@", 5, domain, "");
        else
            complain(work, NULL, "email", "is missing: the mailbox that logs in, also the envelope sender");
    }
    if (!*work->account->username)
        work->account->username = work->account->email;
}

void resolve_account(struct reader *reader, struct account_draft *draft)
{
    struct work work = {reader, draft, &draft->account, {NULL, "accounts"}, {NULL, draft->account.name}};
    work.path.up = &work.top;
    draft->account.opener = reader->checks->opener;
    const struct tree_node *auth = tree_get(draft->map, "auth");
    if (draft->map->kind != TREE_MAP || !auth || auth->kind != TREE_SCALAR ||
        strcmp(auth->text, config_auth_name(draft->account.auth)) != 0)
        return; // nothing can be said before that is right
    const struct preset *preset = preset_find(draft->account.auth);
    if (preset) {
        fill_preset(&work, preset);
        check_oauth(&work);
    } else {
        check_plain(&work);
        draft->account.oauth =
            (struct config_oauth){"", "", "", CONFIG_FLOW_AUTHORIZATION_CODE, "", "", "", "", "", "", "", ""};
    }
    if (draft->account.port == 0)
        draft->account.port = preset_port(draft->account.encryption);
    fill_email(&work);
    check_wire(&work);
    draft->account.servers = draft->servers.names;
    draft->account.n_servers = draft->servers.n;
}
