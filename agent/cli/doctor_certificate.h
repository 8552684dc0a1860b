// The certificate of a server: how it is asked for, what is in it, and whether it will do.
#ifndef OUTTRAY_AGENT_CLI_DOCTOR_CERTIFICATE_H
#define OUTTRAY_AGENT_CLI_DOCTOR_CERTIFICATE_H

#include "agent/cli/doctor.h"
#include <openssl/ssl.h>

// A context with the authorities and the client certificate of the configuration. It verifies, but goes on
// whatever comes of it. NULL and a constant *ret_problem.
SSL_CTX *certificate_context(const struct config_tls *tls, const char **ret_problem);
// The name or address that the certificate has to be for.
bool certificate_expect(SSL *ssl, const char *server);
// Writes chain, names, days left and the verdict into the row. What to do next, or NULL.
const char *certificate_judge(struct doctor *doctor, SSL *ssl);
// Constant words for the last failure of an OpenSSL call (SSL_get_error's result).
const char *certificate_openssl_problem(int error);

#endif
