// What is known about providers, as data: the presets of `auth: google` and `auth: microsoft`, and hosts
// whose owner treats them specially.
#ifndef OUTTRAY_CONFIG_PRESETS_H
#define OUTTRAY_CONFIG_PRESETS_H

#include "config.h"

struct preset {
    enum config_auth auth;
    const char *server;
    enum config_encryption encryption; // its usual port is the preset's port
    struct config_limits limits;       // 0: the preset says nothing
    const char *authorize_url, *token_url, *device_url,
        *revoke_url;       // with {tenant} to fill in; "" where there is none
    const char *scope;     // of a person who signs in
    const char *scope_app; // of client_credentials and service_account
};

// The preset of auth, or NULL for none and basic.
const struct preset *preset_find(enum config_auth auth);

// 25, 587 or 465.
uint16_t preset_port(enum config_encryption encryption);

// Whether host belongs to Microsoft's mail service, where basic authentication is being switched off.
bool preset_host_is_microsoft(const char *host);

#endif
