// Rules for texts of the configuration: each answers NULL for a good text, else a constant reason that reads
// well after the key ("must be …"). They suit struct schema_key's problem.
#ifndef OUTTRAY_CONFIG_TEXTS_H
#define OUTTRAY_CONFIG_TEXTS_H

#include "schema.h"

#define TEXT_NAME_MAX   100 // octets of the name of an account, a tenant or an agent: all are file names
#define TEXT_DOMAIN_MAX 253 // RFC 1035 section 2.3.4, as text without the final dot
#define TEXT_LABEL_MAX  63

schema_problem text_name;        // usable as a file name
schema_problem text_tenant_name; // and as a directory of the spool
schema_problem text_domain;      // a host name of letters, digits and hyphens
schema_problem text_server;      // that, with underscores, or an IPv4 or IPv6 address, in brackets or not
schema_problem text_absolute;    // an absolute path
schema_problem text_secret_file; // an absolute path or the name of a systemd credential
schema_problem text_address;     // by config_checks
schema_problem text_mailbox;     // by config_checks
schema_problem text_notify;      // none, sender or an address
schema_problem text_url;         // https://, or http:// to this machine
schema_problem text_listen;      // ADDRESS:PORT
schema_problem text_group;
schema_problem text_pinned_key; // sha256//BASE64, several with ';'
schema_problem text_directory;  // an Entra tenant: a name, a domain or a GUID
schema_problem text_scope;
schema_problem text_login; // one line without control octets

#endif
