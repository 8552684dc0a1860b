// The easy handle of one session: its options and the set-up dialogue that passes through it.
#include "connect.h"
#include "agent/base/buffer.h"
#include "capabilities.h"
#include "config/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_FILE_MAX ((size_t)1024 * 1024) // octets of a certificate file that is read by us

// Reads the dialogue along with libcurl, so it always knows what the next reply answers.
static void connect_reply(struct connect *connect)
{
    const struct smtp_reply *reply = &connect->reader.reply;
    bool good = reply->code / 100 == 2;
    reply_copy(&connect->last, reply);
    switch (connect->phase) {
    case CONNECT_GREETING:
        connect->phase = CONNECT_EHLO;
        break;
    case CONNECT_EHLO:
        connect->ehlo_lines = 0;
        if (connect->starttls && !connect->encrypted)
            connect->phase = CONNECT_STARTTLS;
        else if (!good)
            connect->phase = CONNECT_HELO;
        else
            connect->phase = connect->login ? CONNECT_AUTH : CONNECT_READY;
        break;
    case CONNECT_STARTTLS:
        if (reply->code == 220) { // what was offered in the clear does not count
            connect->encrypted = true;
            connect->phase = CONNECT_EHLO;
            memset(&connect->capabilities, 0, sizeof connect->capabilities);
        }
        break;
    case CONNECT_AUTH:
        if (reply->code == 235) {
            connect->logged_in = true;
            connect->phase = CONNECT_READY;
        }
        break;
    case CONNECT_HELO:
        connect->phase = CONNECT_READY;
        break;
    case CONNECT_READY:
        break;
    }
}

// One line of a reply, from libcurl. Returning less than it was given ends the connection.
static size_t connect_header(char *line, size_t size, size_t n, void *arg)
{
    struct connect *connect = arg;
    size_t length = size * n, used;
    connect->octets += length;
    if (connect->phase == CONNECT_EHLO && ++connect->ehlo_lines > 1 && length > 4 &&
        connect->ehlo_lines <= SMTP_CAPABILITIES_MAX)
        capabilities_line(&connect->capabilities, line + 4, length - 4);
    int result = reply_read(&connect->reader, line, length, &used, &connect->problem);
    if (result < 0)
        return CURL_WRITEFUNC_ERROR;
    if (result > 0)
        connect_reply(connect);
    return length;
}

// Called when the TCP connection is up and the handshake begins.
static CURLcode connect_handshake(CURL *easy, void *context, void *arg)
{
    (void)easy, (void)context;
    struct connect *connect = arg;
    connect->handshake = true;
    return CURLE_OK;
}

// smtp://HOST:PORT/EHLONAME, put together by libcurl so that nothing in it can be taken for another part.
static int connect_url(const struct smtp_session_params *params, char **ret_url)
{
    char host[300], port[8], path[CONNECT_EHLO_NAME_MAX + 2];
    const char *server = params->server;
    bool ipv6 = strchr(server, ':') != NULL && *server != '[';
    int n = snprintf(host, sizeof host, ipv6 ? "[%s]" : "%s", server);
    int m = snprintf(path, sizeof path, "/%s", params->ehlo_name);
    if (n < 0 || (size_t)n >= sizeof host || m < 0 || (size_t)m >= sizeof path)
        return -EINVAL;
    (void)snprintf(port, sizeof port, "%u", (unsigned)params->account->port);
    CURLU *url = curl_url();
    if (!url)
        return -ENOMEM;
    bool tls = params->account->encryption == CONFIG_ENCRYPTION_TLS;
    CURLUcode code = curl_url_set(url, CURLUPART_SCHEME, tls ? "smtps" : "smtp", 0);
    if (!code)
        code = curl_url_set(url, CURLUPART_HOST, host, 0);
    if (!code)
        code = curl_url_set(url, CURLUPART_PORT, port, 0);
    if (!code)
        code = curl_url_set(url, CURLUPART_PATH, path, CURLU_URLENCODE);
    if (!code)
        code = curl_url_get(url, CURLUPART_URL, ret_url, 0);
    curl_url_cleanup(url);
    return code == CURLUE_OUT_OF_MEMORY ? -ENOMEM : code ? -EINVAL : 0;
}

// Remembers the first option that failed, so that a list of them needs one check.
#define SET(option, value)                                                                                   \
    do {                                                                                                     \
        if (!code)                                                                                           \
            code = curl_easy_setopt(easy, option, value);                                                    \
    } while (0)

// A file by its path; or its content, where only the account's opener gets at it.
static CURLcode connect_set_file(CURL *easy, const struct config_account *account, const char *path,
    CURLoption by_path, CURLoption by_blob)
{
    bool asked;
    struct buffer text;
    CURLcode code = CURLE_OK;
    FD fd = opener_open(account->opener, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0, &asked);
    buffer_init(&text, CONNECT_FILE_MAX);
    buffer_make_secret(&text);
    if (!asked || fd < 0 || buffer_read(&text, fd)) {
        code = curl_easy_setopt(easy, by_path, path); // which fails in its own words
    } else {
        struct curl_blob blob = {.data = text.data, .len = text.length, .flags = CURL_BLOB_COPY};
        code = curl_easy_setopt(easy, by_blob, &blob);
    }
    buffer_release(&text);
    return code;
}

static CURLcode connect_set_tls(CURL *easy, const struct config_account *account)
{
    const struct config_tls *tls = &account->tls;
    CURLcode code = CURLE_OK;
    SET(CURLOPT_USE_SSL, account->encryption == CONFIG_ENCRYPTION_NONE ? CURLUSESSL_NONE : CURLUSESSL_ALL);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, tls->verify ? 1L : 0L);
    SET(CURLOPT_SSL_VERIFYHOST, tls->verify ? 2L : 0L);
    if (!code && *tls->ca_file)
        code = connect_set_file(easy, account, tls->ca_file, CURLOPT_CAINFO, CURLOPT_CAINFO_BLOB);
    // A configured file counts alone. And where the system has all its certificates in one file, its
    // directory of the same is left out: only then does libcurl keep them between connections, instead of
    // spending 30 ms on parsing them each time.
    const char *system_file = curl_version_info(CURLVERSION_NOW)->cainfo;
    if (*tls->ca_file || (system_file && access(system_file, R_OK) == 0))
        SET(CURLOPT_CAPATH, (char *)NULL);
    if (*tls->pinned_key)
        SET(CURLOPT_PINNEDPUBLICKEY, tls->pinned_key);
    if (!code && *tls->certificate_file)
        code = connect_set_file(easy, account, tls->certificate_file, CURLOPT_SSLCERT, CURLOPT_SSLCERT_BLOB);
    if (!code && *tls->key_file)
        code = connect_set_file(easy, account, tls->key_file, CURLOPT_SSLKEY, CURLOPT_SSLKEY_BLOB);
    return code;
}

static CURLcode connect_set_login(CURL *easy, const struct smtp_session_params *params)
{
    CURLcode code = CURLE_OK;
    if (!params->username)
        return code;
    SET(CURLOPT_USERNAME, params->username);
    if (params->oauth) {
        SET(CURLOPT_XOAUTH2_BEARER, params->secret->text);
        SET(CURLOPT_LOGIN_OPTIONS, "AUTH=XOAUTH2");
        SET(CURLOPT_SASL_IR, 1L);
    } else {
        // Named, because libcurl would else prefer GSSAPI and NTLM, for which there is no ticket here.
        SET(CURLOPT_PASSWORD, params->secret && params->secret->text ? params->secret->text : "");
        SET(CURLOPT_LOGIN_OPTIONS, "AUTH=PLAIN;AUTH=LOGIN;AUTH=CRAM-MD5");
    }
    return code;
}

// What libcurl says while it sets the connection up, for who looks on. Its own remarks and octets of TLS are
// left out.
static int connect_debug(CURL *easy, curl_infotype type, char *data, size_t length, void *arg)
{
    const struct connect *connect = arg;
    (void)easy;
    if (type == CURLINFO_HEADER_OUT || type == CURLINFO_HEADER_IN)
        connect->trace(type == CURLINFO_HEADER_OUT, data, length, connect->trace_arg);
    return 0;
}

static CURLcode connect_set(
    struct connect *connect, const struct smtp_session_params *params, const char *url)
{
    CURL *easy = connect->easy;
    long timeout_ms = (long)params->account->timeouts.connect_ms;
    CURLcode code = CURLE_OK;
    SET(CURLOPT_URL, url);
    SET(CURLOPT_CONNECT_ONLY, 1L);
    SET(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROXY, ""); // whatever the environment says
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
    SET(CURLOPT_SERVER_RESPONSE_TIMEOUT, timeout_ms / 1000 + 1);
    SET(CURLOPT_ERRORBUFFER, connect->error);
    SET(CURLOPT_HEADERFUNCTION, connect_header);
    SET(CURLOPT_HEADERDATA, connect);
    if (connect->trace) {
        SET(CURLOPT_DEBUGFUNCTION, connect_debug);
        SET(CURLOPT_DEBUGDATA, connect);
        SET(CURLOPT_VERBOSE, 1L);
    }
    SET(CURLOPT_SSL_CTX_FUNCTION, connect_handshake);
    SET(CURLOPT_SSL_CTX_DATA, connect);
#if LIBCURL_VERSION_NUM >= 0x075700
    SET(CURLOPT_QUICK_EXIT, 1L); // never wait for a resolver thread
#endif
    if (!code)
        code = connect_set_tls(easy, params->account);
    return code ? code : connect_set_login(easy, params);
}
#undef SET

int connect_open(struct connect *connect, const struct smtp_session_params *params)
{
    connect->easy = NULL;
    connect->trace = params->trace;
    connect->trace_arg = params->arg;
    connect->error[0] = '\0';
    connect->os_error = 0;
    connect->phase = CONNECT_GREETING;
    connect->starttls = params->account->encryption == CONFIG_ENCRYPTION_STARTTLS;
    connect->encrypted = params->account->encryption == CONFIG_ENCRYPTION_TLS;
    connect->login = params->username != NULL;
    connect->oauth = params->oauth;
    connect->logged_in = connect->handshake = false;
    connect->ehlo_lines = 0;
    connect->octets = 0;
    connect->problem = NULL;
    connect->tls[0] = '\0';
    memset(&connect->last, 0, sizeof connect->last);
    memset(&connect->capabilities, 0, sizeof connect->capabilities);
    reply_reader_init(&connect->reader);
    char *url = NULL;
    int error = connect_url(params, &url);
    if (error)
        return error;
    connect->easy = curl_easy_init();
    CURLcode code = connect->easy ? connect_set(connect, params, url) : CURLE_OUT_OF_MEMORY;
    curl_free(url);
    if (!code)
        return 0;
    connect_close(connect);
    return code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
}

void connect_close(struct connect *connect)
{
    curl_easy_cleanup(connect->easy); // takes NULL
    connect->easy = NULL;
}
