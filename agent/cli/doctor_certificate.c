// What `outtray doctor` says about a certificate.
#include "agent/cli/doctor_certificate.h"

#include "agent/base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define CHAIN_MAX 10 // certificates shown
#define NAMES_MAX 20 // names shown of one
#define PIN_SIZE  160

const char *certificate_openssl_problem(int error)
{
    unsigned long code = ERR_peek_last_error();
    const char *words = code ? ERR_reason_error_string(code) : NULL;
    if (words)
        return words;
    return error == SSL_ERROR_SYSCALL && errno ? strerror(errno) : "the server closed the connection";
}

static bool is_address(const char *server)
{
    unsigned char octets[16];
    return inet_pton(AF_INET, server, octets) == 1 || inet_pton(AF_INET6, server, octets) == 1;
}

SSL_CTX *certificate_context(const struct config_tls *tls, const char **ret_problem)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    bool good = context && SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    *ret_problem = "OpenSSL cannot be used";
    if (good) {
        *ret_problem = "tls.ca_file holds no certificate that can be used";
        good = *tls->ca_file ? SSL_CTX_load_verify_file(context, tls->ca_file) == 1
                             : SSL_CTX_set_default_verify_paths(context) == 1;
    }
    if (good && *tls->certificate_file) {
        *ret_problem = "tls.certificate_file and tls.key_file cannot be used, or do not belong together";
        good = SSL_CTX_use_certificate_chain_file(context, tls->certificate_file) == 1 &&
               SSL_CTX_use_PrivateKey_file(context, tls->key_file, SSL_FILETYPE_PEM) == 1;
    }
    if (good) {
        *ret_problem = NULL;
        return context;
    }
    SSL_CTX_free(context);
    return NULL;
}

bool certificate_expect(SSL *ssl, const char *server)
{
    if (is_address(server))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), server) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, server) == 1 && SSL_set_tlsext_host_name(ssl, server) == 1;
}

static void name_text(const X509_NAME *name, char *text, size_t size)
{
    BIO *out = BIO_new(BIO_s_mem());
    text[0] = '\0';
    if (out && X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        int n = BIO_read(out, text, (int)size - 1);
        text[n > 0 ? n : 0] = '\0';
    }
    BIO_free(out);
}

static int64_t expiry(const X509 *certificate)
{
    struct tm end;
    return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1 ? timegm(&end) * CLOCK_SECOND : 0;
}

static void show_certificate(struct doctor *doctor, const X509 *certificate)
{
    char subject[256], issuer[256], end[32];
    int64_t expires = expiry(certificate);
    time_t seconds = (time_t)(expires / CLOCK_SECOND);
    struct tm parts;
    if (!gmtime_r(&seconds, &parts) || strftime(end, sizeof end, "%Y-%m-%d", &parts) == 0)
        (void)snprintf(end, sizeof end, "?");
    name_text(X509_get_subject_name(certificate), subject, sizeof subject);
    name_text(X509_get_issuer_name(certificate), issuer, sizeof issuer);
    doctor_detail(
        doctor, "certificate: %s, issued by %s, until %s", *subject ? subject : "(no subject)", issuer, end);
}

static void show_names(struct doctor *doctor, const X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    char line[900] = "";
    size_t length = 0;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names) && i < NAMES_MAX; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        char text[INET6_ADDRSTRLEN > 256 ? INET6_ADDRSTRLEN : 256] = "";
        if (name->type == GEN_DNS)
            (void)snprintf(text, sizeof text, "%.*s", ASN1_STRING_length(name->d.dNSName),
                (const char *)ASN1_STRING_get0_data(name->d.dNSName));
        else if (name->type == GEN_IPADD)
            (void)inet_ntop(ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6,
                ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text);
        if (*text && length + strlen(text) + 2 < sizeof line)
            length += (size_t)snprintf(line + length, sizeof line - length, "%s%s", length ? ", " : "", text);
    }
    GENERAL_NAMES_free(names);
    doctor_detail(doctor, "names: %s", *line ? line : "none");
}

// As CURLOPT_PINNEDPUBLICKEY counts it.
static void pin_of(X509 *certificate, char pin[static PIN_SIZE])
{
    unsigned char *der = NULL, digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    char text[EVP_MAX_MD_SIZE * 2];
    pin[0] = '\0';
    if (n > 0 && EVP_Digest(der, (size_t)n, digest, &length, EVP_sha256(), NULL)) {
        (void)EVP_EncodeBlock((unsigned char *)text, digest, (int)length);
        (void)snprintf(pin, PIN_SIZE, "sha256//%s", text);
    }
    OPENSSL_free(der);
}

static const char *fix_of(long error)
{
    switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "set `server` to a name that the certificate is for";
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "whoever runs the server has to renew its certificate; see this host's clock too";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "see that this host's clock is right";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        return "give the certificate of its authority in tls.ca_file, if you trust it; or install "
               "ca-certificates";
    default:
        return "whoever runs the server has to correct its certificate";
    }
}

static const char *judge_pin(struct doctor *doctor, X509 *certificate)
{
    const char *wanted = doctor->account->tls.pinned_key;
    char pin[PIN_SIZE];
    pin_of(certificate, pin);
    doctor_detail(doctor, "key: %s", pin);
    if (!*wanted || strcmp(wanted, pin) == 0)
        return NULL;
    doctor_worsen(doctor, DOCTOR_FAILED);
    return "the key is not tls.pinned_key: ask whoever runs the server, then change tls.pinned_key";
}

const char *certificate_judge(struct doctor *doctor, SSL *ssl)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    X509 *own = SSL_get0_peer_certificate(ssl);
    long error = SSL_get_verify_result(ssl);
    const char *next = NULL;
    doctor_detail(doctor, "%s, %s", SSL_get_version(ssl), SSL_get_cipher_name(ssl));
    for (int i = 0; chain && i < sk_X509_num(chain) && i < CHAIN_MAX; i++)
        show_certificate(doctor, sk_X509_value(chain, i));
    if (!own) {
        doctor_worsen(doctor, DOCTOR_FAILED);
        return "the server shows no certificate";
    }
    show_names(doctor, own);
    int64_t left = (expiry(own) - clock_wall()) / (86400 * CLOCK_SECOND);
    if (left >= 0 && left < DOCTOR_EXPIRY_DAYS) {
        doctor_worsen(doctor, DOCTOR_WARNING);
        doctor_detail(doctor, "it expires in %lld days", (long long)left);
        next = "whoever runs the server has to renew its certificate soon";
    }
    if (error != X509_V_OK) {
        bool strict = doctor->account->tls.verify;
        doctor_detail(doctor, "verification: %s%s", X509_verify_cert_error_string(error),
            strict ? "" : " (tls.verify is false: the agent takes it)");
        doctor_worsen(doctor, strict ? DOCTOR_FAILED : DOCTOR_WARNING);
        next = fix_of(error);
    } else {
        doctor_detail(doctor, "verification: ok for %s", doctor->server);
    }
    const char *pin = judge_pin(doctor, own);
    return pin ? pin : next;
}
