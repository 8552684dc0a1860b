// What replies and failures mean, as data. Order matters: the first row that matches decides. First the
// providers' own words, where they mean something else than the RFCs would have it, then what all servers say
// in common words, then the enhanced code's class, then the code, then rows that match everything.
#include "outcome_rules.h"

#include <errno.h>

#define SECOND ((int64_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

// What the words of a fix say once, used where several outcomes share them.
#define FIX_LOGIN   "check the account's username and password_file, or authorize it again; then reload"
#define FIX_SLOWER  "nothing has to be done; lower limits.messages_per_minute if it comes back"
#define FIX_FEWER   "nothing has to be done; lower limits.connections if it comes back"
#define FIX_NETWORK "check the account's server, port and encryption, and the network between; mail waits"
#define FIX_CLOCK   "check this host's clock, its certificate store and the account's tls settings"

static const struct outcome sent = {.verdict = VERDICT_SENT, .class = "sent"};

// Retry: a message or a recipient, by its own backoff.
static const struct outcome retry_message = {.verdict = VERDICT_RETRY, .class = "message"};
static const struct outcome retry_recipient = {.verdict = VERDICT_RETRY, .class = "recipient"};
static const struct outcome retry_policy = {.verdict = VERDICT_RETRY, .class = "policy"};
static const struct outcome retry_greylist = {.verdict = VERDICT_RETRY, .class = "greylist"};
static const struct outcome retry_throttled = {.verdict = VERDICT_RETRY, .class = "throttled"};
static const struct outcome retry_connection = {.verdict = VERDICT_RETRY, .class = "connection"};
static const struct outcome retry_protocol = {.verdict = VERDICT_RETRY, .class = "protocol"};
static const struct outcome retry_local = {.verdict = VERDICT_RETRY, .class = "local"};
static const struct outcome split = {.verdict = VERDICT_RETRY, .class = "recipient", .split = true};

// Reject: for good.
static const struct outcome reject_recipient = {
    .verdict = VERDICT_REJECT_RECIPIENT, .reason = STATUS_REASON_RECIPIENT, .class = "recipient"};
static const struct outcome reject_addressee = {
    .verdict = VERDICT_REJECT_MESSAGE, .reason = STATUS_REASON_RECIPIENT, .class = "recipient"};
static const struct outcome reject_message = {
    .verdict = VERDICT_REJECT_MESSAGE, .reason = STATUS_REASON_POLICY, .class = "message"};
static const struct outcome reject_policy = {
    .verdict = VERDICT_REJECT_MESSAGE, .reason = STATUS_REASON_POLICY, .class = "policy"};
static const struct outcome reject_changed = {
    .verdict = VERDICT_REJECT_MESSAGE, .reason = STATUS_REASON_MALFORMED, .class = "message"};
static const struct outcome reject_size = {
    .verdict = VERDICT_REJECT_MESSAGE, .reason = STATUS_REASON_SIZE, .class = "message"};
static const struct outcome reject_send_as = {.verdict = VERDICT_REJECT_MESSAGE,
    .reason = STATUS_REASON_POLICY,
    .class = "policy",
    .fix = "let the mailbox send as this From (Exchange: SendAs permission), or change the tenant's from"};

// Throttled: too much too fast.
static const struct outcome throttled = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .fix = FIX_SLOWER};
static const struct outcome throttled_seconds = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .park_ms = 2 * SECOND, .fix = FIX_SLOWER};
static const struct outcome throttled_minute = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .park_ms = MINUTE, .fix = FIX_SLOWER};
static const struct outcome throttled_hours = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .park_ms = 4 * HOUR, .fix = FIX_SLOWER};
static const struct outcome throttled_connections = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "throttled", .fewer_connections = true, .fix = FIX_FEWER};
static const struct outcome throttled_logins = {.verdict = VERDICT_ACCOUNT_THROTTLED,
    .class = "throttled",
    .fix = "nothing has to be done; see that no other program logs in too often with this account"};
static const struct outcome throttled_unusual = {.verdict = VERDICT_ACCOUNT_THROTTLED,
    .class = "throttled",
    .park_ms = 24 * HOUR,
    .fix = "the provider blocks this account for its sending; trying again prolongs that: ask its support"};

// Quota: what may be sent in a day or month is used up. A rolling day frees capacity bit by bit.
#define FIX_QUOTA "wait, or raise the provider's quota; limits.messages_per_day keeps below it"
static const struct outcome quota_rolling = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "quota", .park_ms = HOUR, .fix = FIX_QUOTA};
static const struct outcome quota_hours = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "quota", .park_ms = 6 * HOUR, .fix = FIX_QUOTA};
static const struct outcome quota_day = {
    .verdict = VERDICT_ACCOUNT_THROTTLED, .class = "quota", .park_ms = 24 * HOUR, .fix = FIX_QUOTA};
static const struct outcome quota_credits = {.verdict = VERDICT_ACCOUNT_THROTTLED,
    .class = "quota",
    .park_ms = 6 * HOUR,
    .fix = "buy credits or wait until the provider's period ends; mail waits"};

// Credentials: nobody gets in until someone does something.
#define CREDENTIALS .verdict = VERDICT_ACCOUNT_CREDENTIALS, .class = "credentials"
static const struct outcome login_refused = {CREDENTIALS, .refresh_token = true, .fix = FIX_LOGIN};
static const struct outcome login_useless = {CREDENTIALS, .fix = FIX_LOGIN};
static const struct outcome token_rejected = {
    CREDENTIALS, .refresh_token = true, .fix = "authorize the account again: the provider rejects its token"};
static const struct outcome token_too_old = {CREDENTIALS, .refresh_token = true,
    .fix = "authorize the account again: its token is too near its end and could not be renewed"};
static const struct outcome app_password = {
    CREDENTIALS, .fix = "make an app password at the provider and put it in the account's password_file"};
static const struct outcome smtp_auth_disabled = {CREDENTIALS,
    .fix = "an administrator must enable Authenticated SMTP for the mailbox or tenant in Exchange Online "
           "(Set-CASMailbox -SmtpClientAuthenticationDisabled $false)"};
static const struct outcome basic_gone = {CREDENTIALS,
    .fix = "the provider no longer takes passwords: switch the account to OAuth (auth: microsoft)"};
static const struct outcome blocked_sender = {CREDENTIALS,
    .fix = "the provider blocks this mailbox as a source of spam: find out who used it, then have an "
           "administrator remove it from the restricted users"};
static const struct outcome mechanism = {CREDENTIALS,
    .fix = "the server takes no login method this account can use: check auth, encryption and port"};
static const struct outcome login_needed = {
    CREDENTIALS, .fix = "the server wants a login: set auth, username and password_file of the account"};
static const struct outcome tls_needed = {
    CREDENTIALS, .fix = "the server wants TLS: set the account's encryption to starttls or tls"};

// Unreachable: no session, whatever the mail is.
#define UNREACHABLE .verdict = VERDICT_ACCOUNT_UNREACHABLE
static const struct outcome unreachable = {UNREACHABLE, .class = "connection", .fix = FIX_NETWORK};
static const struct outcome refuses_us = {UNREACHABLE, .class = "connection",
    .fix = "the server refuses this host before any login: check server and port, and its operator's rules"};
static const struct outcome bad_greeting = {UNREACHABLE, .class = "protocol",
    .fix = "the server does not answer as an SMTP server does: check server, port and encryption"};
static const struct outcome ehlo_refused = {UNREACHABLE, .class = "protocol",
    .fix = "the server refuses our EHLO: set `domain` to this host's full name"};
static const struct outcome timed_out = {UNREACHABLE, .class = "timeout", .fix = FIX_NETWORK};
static const struct outcome no_name = {UNREACHABLE, .class = "local",
    .fix = "the server's name does not resolve: check the account's server and this host's DNS"};
static const struct outcome no_network = {
    UNREACHABLE, .class = "local", .fix = "check this host's network: there is no way to the server"};
static const struct outcome not_permitted = {UNREACHABLE, .class = "local",
    .fix = "this host forbids the connection: check its firewall and the agent's sandbox (a restart "
           "re-reads the ports)"};
static const struct outcome no_descriptors = {
    UNREACHABLE, .class = "local", .fix = "this host is short of descriptors or memory: raise LimitNOFILE"};
static const struct outcome cancelled = {UNREACHABLE, .class = "local"};
static const struct outcome tls_failed = {UNREACHABLE, .class = "tls", .fix = FIX_CLOCK};
static const struct outcome tls_verify = {UNREACHABLE, .class = "tls",
    .fix = "the server's certificate is not trusted, has expired or is for another name: set server to the "
           "name in it or tls.ca_file to its issuer, and check the clock"};
static const struct outcome tls_pin = {
    UNREACHABLE, .class = "tls", .fix = "the server's key is not the pinned one: check tls.pinned_key"};
static const struct outcome tls_ca_file = {UNREACHABLE, .class = "tls",
    .fix = "tls.ca_file (or the system's certificate store) cannot be read: check it"};
static const struct outcome tls_client_certificate = {UNREACHABLE, .class = "tls",
    .fix = "the client certificate cannot be used: check tls.certificate_file and tls.key_file"};
static const struct outcome tls_not_offered = {UNREACHABLE, .class = "tls",
    .fix = "the server offers no STARTTLS: set encryption to tls (port 465), or ask its operator"};
static const struct outcome no_proxy = {
    UNREACHABLE, .class = "local", .fix = "the proxy's name does not resolve: check the proxy settings"};

#define AT(stage) (1u << SMTP_STAGE_##stage)
#define SETUP     (AT(CONNECT) | AT(TLS) | AT(EHLO) | AT(AUTH))
#define BODY      (AT(DATA) | AT(FINAL))
#define MAILING   (AT(MAIL) | AT(RCPT) | BODY)
#define EARLY     (SETUP | AT(MAIL) | AT(IDLE))
#define ANY       (SETUP | MAILING | AT(IDLE))

#define CODE(code)              .code_min = (code), .code_max = (code)
#define CODES(digit)            .code_min = (digit)*100, .code_max = (digit)*100 + 99
#define REFUSED                 .code_min = 400, .code_max = 599
#define X(c, s, d)              .class_digit = (c), .subject = (s), .detail = (d), .detail_last = (d)
#define X_RANGE(c, s, from, to) .class_digit = (c), .subject = (s), .detail = (from), .detail_last = (to)
#define X_SUBJECT(c, s)         .class_digit = (c), .subject = (s), .detail = -1
#define X_CLASS(c)              .class_digit = (c), .subject = -1, .detail = -1

const struct outcome_rule outcome_rules[] = {
    // A success is a success whatever its enhanced code says. 354 asks for the body.
    {ANY & ~AT(DATA), CODES(2), .source = "RFC 5321 4.2.1", .outcome = &sent},
    {AT(DATA), CODE(354), .source = "RFC 5321 4.2.1", .outcome = &sent},

    // Google.
    {AT(AUTH), CODE(334), .source = "Google: XOAUTH2 error challenge", .outcome = &token_rejected},
    {AT(AUTH), CODE(534), X(5, 7, 9), .source = "Google", .outcome = &app_password},
    {AT(AUTH), CODE(535), .text = "application-specific password", .source = "Google",
        .outcome = &app_password},
    {ANY, CODE(550), X(5, 4, 5), .source = "Google: daily user sending limit", .outcome = &quota_hours},

    // Microsoft 365.
    {ANY, CODE(535), X(5, 7, 139), .source = "Microsoft", .outcome = &smtp_auth_disabled},
    {ANY, CODE(550), X(5, 7, 30), .source = "Microsoft", .outcome = &basic_gone},
    {ANY, CODE(535), X(5, 7, 3), .source = "Microsoft", .outcome = &token_rejected},
    {ANY, CODE(501), X(5, 5, 127), .source = "Microsoft", .outcome = &token_too_old},
    {MAILING, CODES(5), .text = "SendAsDenied", .source = "Microsoft", .outcome = &reject_send_as},
    {MAILING, CODE(550), X(5, 7, 60), .source = "Microsoft", .outcome = &reject_send_as},
    {MAILING, CODE(554), X(5, 2, 252), .source = "Microsoft", .outcome = &reject_send_as},
    {ANY, CODE(550), X_RANGE(5, 2, 251, 255), .source = "Microsoft", .outcome = &throttled_hours},
    {ANY, CODE(432), X(4, 3, 2), .source = "Microsoft", .outcome = &throttled_connections},
    {ANY, CODE(554), X(5, 2, 0), .text = "quota", .source = "Microsoft", .outcome = &quota_day},
    {ANY, CODE(550), X(5, 1, 90), .source = "Microsoft", .outcome = &quota_day},
    {MAILING, CODE(554), X(5, 2, 270), .source = "Microsoft", .outcome = &reject_size},
    {EARLY, CODE(451), X_RANGE(4, 7, 500, 699), .source = "Microsoft: server busy", .outcome = &throttled},

    // Others. Postfix says 5.1.8 of a sender's domain that does not exist: that is the message's.
    {ANY, CODE(550), X(5, 4, 6), .text = "unusual sending activity", .source = "Zoho",
        .outcome = &throttled_unusual},
    {MAILING, CODE(550), X(5, 1, 8), .text = "sender address rejected", .source = "Postfix",
        .outcome = &reject_policy},
    {MAILING, CODE(554), X(5, 1, 8), .text = "sender address rejected", .source = "Postfix",
        .outcome = &reject_policy},
    {ANY, CODE(550), X(5, 1, 8), .source = "Microsoft", .outcome = &blocked_sender},
    {ANY, CODE(554), X(5, 1, 8), .source = "Zoho", .outcome = &throttled_unusual},
    {ANY, CODE(454), .text = "maximum sending rate exceeded", .source = "Amazon SES",
        .outcome = &throttled_seconds},
    {ANY, CODE(454), .text = "daily message quota exceeded", .source = "Amazon SES",
        .outcome = &quota_rolling},
    {AT(AUTH), CODE(451), .text = "maximum credits exceeded", .source = "SendGrid",
        .outcome = &quota_credits},

    // What many servers say in much the same words.
    {EARLY, REFUSED, .text = "concurrent", .source = "common words", .outcome = &throttled_connections},
    {EARLY, REFUSED, .text = "too many connections", .source = "common words",
        .outcome = &throttled_connections},
    {AT(MAIL) | BODY, REFUSED, .text = "sending limit", .source = "common words", .outcome = &quota_hours},
    {MAILING, CODES(4), .text = "too much mail", .source = "Postfix anvil", .outcome = &throttled_minute},
    {EARLY, CODES(4), .text = "rate limit", .source = "common words", .outcome = &throttled},
    {EARLY, CODES(4), .text = "throttl", .source = "common words", .outcome = &throttled},

    // The server says goodbye. While it answers about a message, it may be that message's doing.
    {EARLY, CODE(421), X_SUBJECT(4, 7), .source = "Google", .outcome = &throttled},
    {AT(RCPT) | BODY, CODE(421), X_SUBJECT(4, 7), .source = "Google", .outcome = &retry_throttled},
    {EARLY, CODE(421), .source = "RFC 5321 4.2.3", .outcome = &unreachable},
    {AT(RCPT) | BODY, CODE(421), .source = "RFC 5321 4.2.3", .outcome = &retry_connection},

    // AUTH (RFC 4954 section 6).
    {AT(AUTH), CODE(432), .source = "RFC 4954", .outcome = &login_useless},
    {AT(AUTH), CODES(4), .source = "RFC 4954, Google 454 4.7.0", .outcome = &throttled_logins},
    {AT(AUTH), X_CLASS(4), CODES(5), .source = "RFC 3463", .outcome = &throttled_logins},
    {AT(AUTH), CODE(534), .source = "RFC 4954", .outcome = &mechanism},
    {AT(AUTH), CODE(538), .source = "RFC 4954", .outcome = &tls_needed},
    {AT(AUTH), CODE(530), .source = "RFC 3207", .outcome = &tls_needed},
    {ANY, CODE(535), .source = "RFC 4954", .outcome = &login_refused},
    {AT(AUTH), CODE(525), .source = "RFC 5248", .outcome = &login_useless},
    {AT(AUTH), .code_min = 500, .code_max = 504, .source = "RFC 4954", .outcome = &mechanism},
    {AT(AUTH), CODES(5), .source = "RFC 4954", .outcome = &login_refused},

    // A transaction without the login or the encryption that the server wants.
    {MAILING, CODE(530), .text = "STARTTLS", .source = "RFC 3207", .outcome = &tls_needed},
    {MAILING, CODE(530), .source = "RFC 4954", .outcome = &login_needed},
    {AT(MAIL), CODE(503), .text = "auth", .source = "common words", .outcome = &login_needed},

    // Greeting and EHLO.
    {AT(CONNECT), CODES(5), .source = "RFC 5321 3.1", .outcome = &refuses_us},
    {AT(CONNECT), CODES(4), .source = "RFC 5321 3.1", .outcome = &unreachable},
    {AT(TLS), REFUSED, .source = "RFC 3207", .outcome = &tls_failed},
    {AT(EHLO), CODES(5), .source = "RFC 5321 4.1.1.1", .outcome = &ehlo_refused},
    {AT(EHLO), CODES(4), .source = "RFC 5321 4.1.1.1", .outcome = &unreachable},

    // Out of step: something was lost on the way, and a new connection starts over.
    {MAILING, REFUSED, .text = "no valid recipients", .source = "common words", .outcome = &retry_protocol},
    {MAILING, CODE(503), .source = "RFC 5321 4.2.3", .outcome = &retry_protocol},

    // Too many recipients: 452, and the 552 of RFC 821.
    {AT(RCPT), CODE(452), X(4, 5, 3), .source = "RFC 5321 4.5.3.1.10, Google", .outcome = &split},
    {AT(RCPT), X(5, 5, 3), CODES(5), .source = "RFC 3463", .outcome = &split},
    {AT(RCPT), REFUSED, .text = "too many recipients", .source = "RFC 5321 4.5.3.1.10", .outcome = &split},

    // Size.
    {MAILING, CODES(5), X(5, 3, 4), .source = "RFC 3463, Google", .outcome = &reject_size},
    {MAILING, CODES(5), X(5, 2, 3), .source = "RFC 3463, Google", .outcome = &reject_size},

    // Greylisting, by its name or by its code at RCPT.
    {MAILING, CODES(4), .text = "greylist", .source = "RFC 6647", .outcome = &retry_greylist},
    {MAILING, CODES(4), .text = "graylist", .source = "RFC 6647", .outcome = &retry_greylist},
    {AT(RCPT), .code_min = 450, .code_max = 451, X_SUBJECT(4, 7), .source = "RFC 6647",
        .outcome = &retry_greylist},
    {AT(MAIL) | BODY, X_SUBJECT(4, 7), REFUSED, .source = "Microsoft 451 4.7.x", .outcome = &retry_policy},

    // The enhanced code's class, then the code. An address that is too much for the server is its
    // recipient's.
    {MAILING, X(5, 6, 7), CODES(5), .source = "RFC 6531", .outcome = &reject_recipient},
    {AT(RCPT), X_CLASS(4), REFUSED, .source = "RFC 3463", .outcome = &retry_recipient},
    {AT(MAIL) | BODY, X_CLASS(4), REFUSED, .source = "RFC 3463", .outcome = &retry_message},
    {AT(RCPT), X_CLASS(5), REFUSED, .source = "RFC 3463", .outcome = &reject_recipient},
    {AT(MAIL) | BODY, X_SUBJECT(5, 7), REFUSED, .source = "RFC 3463", .outcome = &reject_policy},
    {AT(MAIL), X_SUBJECT(5, 1), REFUSED, .source = "RFC 3463: sender", .outcome = &reject_policy},
    {BODY, X_SUBJECT(5, 1), REFUSED, .source = "RFC 3463: recipient", .outcome = &reject_addressee},
    {BODY, X_RANGE(5, 2, 0, 2), REFUSED, .source = "RFC 3463: mailbox", .outcome = &reject_addressee},
    {AT(MAIL) | BODY, X_SUBJECT(5, 6), REFUSED, .source = "RFC 3463", .outcome = &reject_policy},
    {AT(MAIL) | BODY, CODE(552), X(5, 0, 0), .source = "RFC 5321", .outcome = &reject_size},
    {AT(MAIL) | BODY, X_CLASS(5), REFUSED, .source = "RFC 3463", .outcome = &reject_message},
    {AT(MAIL) | BODY, CODE(552), .source = "RFC 5321", .outcome = &reject_size},
    {AT(RCPT), CODES(4), .source = "RFC 5321", .outcome = &retry_recipient},
    {AT(MAIL) | BODY, CODES(4), .source = "RFC 5321", .outcome = &retry_message},
    {AT(RCPT), CODES(5), .source = "RFC 5321", .outcome = &reject_recipient},
    {AT(MAIL), CODES(5), .source = "RFC 5321: sender", .outcome = &reject_policy},
    {BODY, CODES(5), .source = "RFC 5321", .outcome = &reject_message},

    // No reply that SMTP knows here.
    {MAILING, .source = "out of step", .outcome = &retry_protocol},
    {ANY, .source = "out of step", .outcome = &bad_greeting},
};
const size_t outcome_rules_n = sizeof outcome_rules / sizeof *outcome_rules;

#define EVERY -1

const struct outcome_failure_rule outcome_failure_rules[] = {
    {SMTP_FAILURE_NONE, EVERY, 0, &sent},

    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_RESOLVE_HOST, 0, &no_name},
    {SMTP_FAILURE_CONNECTION, CURLE_COULDNT_RESOLVE_PROXY, 0, &no_proxy},
    {SMTP_FAILURE_CONNECTION, CURLE_OUT_OF_MEMORY, 0, &no_descriptors},
    {SMTP_FAILURE_CONNECTION, CURLE_FAILED_INIT, 0, &no_descriptors},
    {SMTP_FAILURE_CONNECTION, EVERY, EMFILE, &no_descriptors},
    {SMTP_FAILURE_CONNECTION, EVERY, ENFILE, &no_descriptors},
    {SMTP_FAILURE_CONNECTION, EVERY, ENOMEM, &no_descriptors},
    {SMTP_FAILURE_CONNECTION, EVERY, ENOBUFS, &no_descriptors},
    {SMTP_FAILURE_CONNECTION, EVERY, ENETUNREACH, &no_network},
    {SMTP_FAILURE_CONNECTION, EVERY, ENETDOWN, &no_network},
    {SMTP_FAILURE_CONNECTION, EVERY, EADDRNOTAVAIL, &no_network},
    {SMTP_FAILURE_CONNECTION, EVERY, EACCES, &not_permitted},
    {SMTP_FAILURE_CONNECTION, EVERY, EPERM, &not_permitted},
    {SMTP_FAILURE_CONNECTION, CURLE_OPERATION_TIMEDOUT, 0, &timed_out},
    {SMTP_FAILURE_CONNECTION, EVERY, 0, &unreachable},

    {SMTP_FAILURE_TIMEOUT, EVERY, 0, &timed_out},

    {SMTP_FAILURE_TLS, CURLE_PEER_FAILED_VERIFICATION, 0, &tls_verify},
    {SMTP_FAILURE_TLS, CURLE_SSL_ISSUER_ERROR, 0, &tls_verify},
    {SMTP_FAILURE_TLS, CURLE_SSL_INVALIDCERTSTATUS, 0, &tls_verify},
    {SMTP_FAILURE_TLS, CURLE_SSL_PINNEDPUBKEYNOTMATCH, 0, &tls_pin},
    {SMTP_FAILURE_TLS, CURLE_SSL_CACERT_BADFILE, 0, &tls_ca_file},
    {SMTP_FAILURE_TLS, CURLE_SSL_CRL_BADFILE, 0, &tls_ca_file},
    {SMTP_FAILURE_TLS, CURLE_SSL_CERTPROBLEM, 0, &tls_client_certificate},
    {SMTP_FAILURE_TLS, CURLE_SSL_CLIENTCERT, 0, &tls_client_certificate},
    {SMTP_FAILURE_TLS, CURLE_USE_SSL_FAILED, 0, &tls_not_offered},
    {SMTP_FAILURE_TLS, EVERY, 0, &tls_failed},

    {SMTP_FAILURE_PROTOCOL, EVERY, 0, &bad_greeting},
    {SMTP_FAILURE_LOGIN, EVERY, 0, &mechanism},
    {SMTP_FAILURE_FILE, EVERY, 0, &reject_changed},
    {SMTP_FAILURE_DISK, EVERY, 0, &retry_local},
    {SMTP_FAILURE_REQUIRED, EVERY, 0, &reject_policy},
    {SMTP_FAILURE_CANCELLED, EVERY, 0, &cancelled},
};
const size_t outcome_failure_rules_n = sizeof outcome_failure_rules / sizeof *outcome_failure_rules;
