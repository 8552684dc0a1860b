// The table, and what the configuration adds to it.
#include "policy.h"
#include "agent/http/request.h"

#include <curl/curl.h>
#include <limits.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

// Ports of mail, HTTPS and names that are open to every agent, so that a reload seldom needs a restart.
static const uint16_t ports[] = {25, 465, 587, 2525, 443, 53};

enum policy_for { FOR_ALL, FOR_ROOT, FOR_OTHERS };

static const struct {
    enum policy_for who;
    enum sandbox_access access;
    const char *path;
} paths[] = {
    // libraries that are loaded late (name services, OpenSSL's providers), authorities, time zones
    {FOR_ALL, SANDBOX_READ, "/usr"},
    {FOR_ALL, SANDBOX_READ, "/lib"},
    {FOR_ALL, SANDBOX_READ, "/lib64"},
    // names: resolv.conf mostly points to one of these
    {FOR_ALL, SANDBOX_READ, "/run/systemd/resolve"},
    {FOR_ALL, SANDBOX_READ, "/run/resolvconf"},
    {FOR_ALL, SANDBOX_READ, "/run/NetworkManager"},
    {FOR_ALL, SANDBOX_READ, "/run/connman"},
    {FOR_OTHERS, SANDBOX_READ, "/etc"},
    {FOR_ROOT, SANDBOX_READ, "/etc/resolv.conf"},
    {FOR_ROOT, SANDBOX_READ, "/etc/hosts"},
    {FOR_ROOT, SANDBOX_READ, "/etc/host.conf"},
    {FOR_ROOT, SANDBOX_READ, "/etc/nsswitch.conf"},
    {FOR_ROOT, SANDBOX_READ, "/etc/gai.conf"},
    {FOR_ROOT, SANDBOX_READ, "/etc/services"},
    {FOR_ROOT, SANDBOX_READ, "/etc/protocols"},
    {FOR_ROOT, SANDBOX_READ, "/etc/passwd"},
    {FOR_ROOT, SANDBOX_READ, "/etc/group"},
    {FOR_ROOT, SANDBOX_READ, "/etc/ld.so.cache"},
    {FOR_ROOT, SANDBOX_READ, "/etc/localtime"},
    {FOR_ROOT, SANDBOX_READ, "/etc/ssl/certs"},
    {FOR_ROOT, SANDBOX_READ, "/etc/ssl/openssl.cnf"},
    {FOR_ROOT, SANDBOX_READ, "/etc/pki/tls"},
    {FOR_ROOT, SANDBOX_READ, "/etc/pki/ca-trust"},
    {FOR_ROOT, SANDBOX_READ, "/etc/crypto-policies"},
    // the kernel's own: number of processors, FIPS mode, the memory map of a crash report
    {FOR_ALL, SANDBOX_READ, "/proc/self"},
    {FOR_ALL, SANDBOX_READ, "/proc/sys"},
    {FOR_ALL, SANDBOX_READ, "/proc/stat"},
    {FOR_ALL, SANDBOX_READ, "/sys/devices/system/cpu"},
    {FOR_ALL, SANDBOX_READ, "/dev/urandom"},
    {FOR_ALL, SANDBOX_READ, "/dev/null"},
    {FOR_ALL, SANDBOX_APPEND, "/dev/null"},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// The directory too, since files are replaced by renaming others over them; but not one that holds all and
// sundry.
static void policy_add_file(struct sandbox *sandbox, enum sandbox_access access, const char *path)
{
    char directory[PATH_MAX];
    const char *slash = path ? strrchr(path, '/') : NULL;
    if (!slash || path[0] != '/')
        return; // a name in $CREDENTIALS_DIRECTORY
    size_t length = (size_t)(slash - path);
    (void)snprintf(directory, sizeof directory, "%.*s", (int)(length < PATH_MAX ? length : 0), path);
    if (*directory && strcmp(directory, "/etc") != 0 && strcmp(directory, "/dev") != 0)
        sandbox_add_path(sandbox, access, directory);
    sandbox_add_path(sandbox, access, path);
}

static void policy_add_url(struct sandbox *sandbox, const char *text, uint16_t otherwise)
{
    CURLU *url = text && *text ? curl_url() : NULL;
    char *port = NULL;
    if (!url)
        return;
    if (!curl_url_set(url, CURLUPART_URL, text, CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME)) {
        if (curl_url_get(url, CURLUPART_PORT, &port, otherwise ? 0 : CURLU_DEFAULT_PORT))
            sandbox_add_connect(sandbox, otherwise);
        else
            sandbox_add_connect(sandbox, (uint16_t)strtoul(port, NULL, 10));
    }
    curl_free(port);
    curl_url_cleanup(url);
}

#define PROXY_PORT 1080 // libcurl's, where the variable names none

static void policy_add_proxies(struct sandbox *sandbox)
{
    static const char *const names[] = {
        "http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY", "smtp_proxy", "SMTP_PROXY"};
    for (size_t i = 0; i < COUNT(names); i++) {
        const char *proxy = getenv(names[i]);
        if (proxy && *proxy)
            policy_add_url(sandbox, proxy, PROXY_PORT);
    }
}

#define FILES_MAX 7

struct files { // of an account; "" where there is none
    struct {
        const char *path;
        bool secret;
    } file[FILES_MAX];
};

static struct files policy_files(const struct config_account *account)
{
    return (struct files){{{account->password_file, true}, {account->tls.ca_file, false},
        {account->tls.certificate_file, false}, {account->tls.key_file, false},
        {account->oauth.client_secret_file, true}, {account->oauth.certificate_file, false},
        {account->oauth.key_file, true}}};
}

#define URLS_MAX 3

static void policy_urls(const struct config_account *account, const char *ret_urls[static URLS_MAX])
{
    ret_urls[0] = account->oauth.token_url;
    ret_urls[1] = account->oauth.device_url;
    ret_urls[2] = account->oauth.revoke_url;
}

static void policy_add_account(struct sandbox *sandbox, const struct config_account *account)
{
    const struct files files = policy_files(account);
    const char *urls[URLS_MAX];
    for (size_t i = 0; i < FILES_MAX; i++)
        policy_add_file(sandbox, SANDBOX_READ, files.file[i].path);
    sandbox_add_connect(sandbox, account->port);
    policy_urls(account, urls);
    for (size_t i = 0; i < URLS_MAX; i++)
        policy_add_url(sandbox, urls[i], 0);
}

bool policy_names_file(const struct config *config, const char *path, bool *ret_secret)
{
    for (size_t i = 0; *path && i < config->n_accounts; i++) {
        const struct files files = policy_files(&config->accounts[i]);
        for (size_t j = 0; j < FILES_MAX; j++)
            if (files.file[j].path && strcmp(files.file[j].path, path) == 0) {
                *ret_secret = files.file[j].secret;
                return true;
            }
    }
    return false;
}

static bool account_names_url(const struct config_account *account, const char *host, uint16_t port)
{
    const char *urls[URLS_MAX];
    char named[HTTP_HOST_MAX];
    uint16_t named_port;
    policy_urls(account, urls);
    for (size_t i = 0; i < URLS_MAX; i++)
        if (urls[i] && *urls[i] && http_url_place(urls[i], named, sizeof named, &named_port) &&
            named_port == port && strcasecmp(named, host) == 0)
            return true;
    return false;
}

bool policy_names_place(const struct config *config, const char *host, uint16_t port)
{
    for (size_t i = 0; i < config->n_accounts; i++)
        for (size_t j = 0; config->accounts[i].port == port && j < config->accounts[i].n_servers; j++)
            if (strcasecmp(config->accounts[i].servers[j], host) == 0)
                return true;
    for (size_t i = 0; i < config->n_accounts; i++) // taking URLs apart takes longer
        if (account_names_url(&config->accounts[i], host, port))
            return true;
    return false;
}

static void policy_add_authorities(struct sandbox *sandbox)
{
    const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
    const char *const places[] = {getenv(X509_get_default_cert_file_env()),
        getenv(X509_get_default_cert_dir_env()), getenv("OPENSSL_CONF"), X509_get_default_cert_dir(),
        X509_get_default_cert_file(), curl->cainfo, curl->capath};
    for (size_t i = 0; i < COUNT(places); i++)
        sandbox_add_path(sandbox, SANDBOX_READ, places[i]);
}

// Crash reports of test builds read the program's own symbols, and their clock is a file.
static void policy_add_program(struct sandbox *sandbox)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length > 0) {
        program[length] = '\0';
        sandbox_add_path(sandbox, SANDBOX_READ, program);
    }
#ifdef OUTTRAY_TEST_CLOCK
    policy_add_file(sandbox, SANDBOX_READ, getenv("OUTTRAY_TEST_CLOCK"));
#endif
}

// The log, but for a place in which a new file could be taken for the configuration.
static void policy_add_log(struct sandbox *sandbox, const struct config *config)
{
    struct sandbox only;
    sandbox_init(&only);
    policy_add_file(&only, SANDBOX_APPEND, config->log.file);
    if (only.error)
        sandbox->error = only.error;
    else if (!sandbox_writes(&only, config->path))
        policy_add_file(sandbox, SANDBOX_APPEND, config->log.file);
    sandbox_release(&only);
}

void policy_add(struct sandbox *sandbox, const struct config *config)
{
    enum policy_for who = geteuid() == 0 ? FOR_ROOT : FOR_OTHERS;
    sandbox_add_path(sandbox, SANDBOX_WRITE, config->spool);
    sandbox_add_path(sandbox, SANDBOX_WRITE, config->state);
    policy_add_log(sandbox, config);
    char *path = realpath(config->path, NULL);
    policy_add_file(sandbox, SANDBOX_READ, path); // what a link leads to, and the link's own directory
    policy_add_file(sandbox, SANDBOX_READ, config->path);
    free(path);
    sandbox_add_path(sandbox, SANDBOX_READ, getenv("CREDENTIALS_DIRECTORY"));
    for (size_t i = 0; i < COUNT(paths); i++)
        if (paths[i].who == FOR_ALL || paths[i].who == who)
            sandbox_add_path(sandbox, paths[i].access, paths[i].path);
    policy_add_authorities(sandbox);
    policy_add_program(sandbox);
    for (size_t i = 0; i < COUNT(ports); i++)
        sandbox_add_connect(sandbox, ports[i]);
    for (size_t i = 0; i < config->n_accounts; i++)
        policy_add_account(sandbox, &config->accounts[i]);
    policy_add_proxies(sandbox);
    const char *colon = strrchr(config->metrics.listen, ':');
    if (colon)
        sandbox_add_bind(sandbox, (uint16_t)strtoul(colon + 1, NULL, 10));
}
