// The tables of presets.h. State of November 2026, from the providers' public documentation.
#include "presets.h"
#include <string.h>
#include <strings.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct preset presets[] = {
    {
        .auth = CONFIG_AUTH_GOOGLE,
        .server = "smtp.gmail.com",
        .encryption = CONFIG_ENCRYPTION_STARTTLS,
        .limits = {.messages_per_day = 2000, .recipients_per_message = 100, .recipients_per_day = 10000},
        .authorize_url = "https://accounts.google.com/o/oauth2/v2/auth",
        .token_url = "https://oauth2.googleapis.com/token",
        .device_url = "", // the device flow does not grant mail scopes
        .revoke_url = "https://oauth2.googleapis.com/revoke",
        .scope = "https://mail.google.com/ openid email",
        .scope_app = "https://mail.google.com/",
    },
    {
        .auth = CONFIG_AUTH_MICROSOFT,
        .server = "smtp.office365.com",
        .encryption = CONFIG_ENCRYPTION_STARTTLS,
        .limits = {.connections = 3,
            .messages_per_minute = 30,
            .recipients_per_message = 1000,
            .recipients_per_day = 10000},
        .authorize_url = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize",
        .token_url = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
        .device_url = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode",
        .revoke_url = "",
        .scope = "https://outlook.office.com/SMTP.Send offline_access openid email",
        .scope_app = "https://outlook.office365.com/.default",
    },
};

// A name with a leading dot stands for everything below it.
static const char *const microsoft_hosts[] = {
    "outlook.office365.com",
    "smtp.office365.com",
    "smtp-mail.outlook.com",
    "smtp.live.com",
    ".office365.com",
    ".outlook.com",
    ".office.com",
    ".protection.outlook.com",
    ".office365.us",
    ".partner.outlook.cn",
};

const struct preset *preset_find(enum config_auth auth)
{
    for (size_t i = 0; i < COUNT_OF(presets); i++)
        if (presets[i].auth == auth)
            return &presets[i];
    return NULL;
}

uint16_t preset_port(enum config_encryption encryption)
{
    switch (encryption) {
    case CONFIG_ENCRYPTION_NONE:
        return 25;
    case CONFIG_ENCRYPTION_STARTTLS:
        return 587;
    case CONFIG_ENCRYPTION_TLS:
        return 465;
    }
    return 0;
}

bool preset_host_is_microsoft(const char *host)
{
    size_t length = strlen(host);
    if (length > 0 && host[length - 1] == '.')
        length--;
    for (size_t i = 0; i < COUNT_OF(microsoft_hosts); i++) {
        const char *known = microsoft_hosts[i];
        size_t known_length = strlen(known);
        if (known_length > length || (known[0] != '.' && known_length != length))
            continue;
        if (strncasecmp(host + length - known_length, known, known_length) == 0)
            return true;
    }
    return false;
}
