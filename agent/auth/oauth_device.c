// The device authorization response (RFC 8628 section 3.2).
#include "json.h"
#include "oauth.h"
#include "words.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEVICE_INTERVAL_S   5 // where the provider names none
#define DEVICE_INTERVAL_MAX 300
#define DEVICE_EXPIRES_S    900
#define DEVICE_EXPIRES_MAX  86400

void oauth_device_release(struct oauth_device *device)
{
    secret_release(&device->device_code);
}

// Visible ASCII that fits (a user code may have blanks): it is printed on a terminal.
static bool device_text(const json_t *json, const char *key, char *to, size_t size)
{
    const char *text = json_secret_text(json, key);
    size_t length = text ? strlen(text) : 0;
    for (size_t i = 0; i < length; i++)
        if (text[i] < ' ' || text[i] > '~')
            return false;
    if (!length || length >= size)
        return false;
    memcpy(to, text, length + 1);
    return true;
}

static int64_t device_number(const json_t *json, const char *key, int64_t fallback, int64_t max)
{
    int64_t number;
    if (!json_secret_number(json, key, &number) || number < 1)
        return fallback;
    return number < max ? number : max;
}

static int device_fill(const json_t *json, struct oauth_device *device)
{
    const char *code = json_secret_text(json, "device_code");
    // Google calls it verification_url.
    if (!code || !*code || !device_text(json, "user_code", device->user_code, sizeof device->user_code) ||
        (!device_text(json, "verification_uri", device->verification_uri, sizeof device->verification_uri) &&
            !device_text(
                json, "verification_url", device->verification_uri, sizeof device->verification_uri)))
        return -EBADMSG;
    device->expires_in_s = device_number(json, "expires_in", DEVICE_EXPIRES_S, DEVICE_EXPIRES_MAX);
    device->interval_s = device_number(json, "interval", DEVICE_INTERVAL_S, DEVICE_INTERVAL_MAX);
    return secret_set(&device->device_code, code, strlen(code));
}

int oauth_parse_device(
    const struct http_response *response, struct oauth_device *ret_device, char words[static OAUTH_WORDS_MAX])
{
    if (response->status == 0) {
        words_set(words, "%s", response->problem ? response->problem : "no answer");
        return -EIO;
    }
    JSON_SECRET *json = json_secret_parse(response->body, response->length);
    const char *error = json_secret_text(json, "error");
    if (error) {
        const char *description = json_secret_text(json, "error_description");
        words_set(words, "%s%s%s", error, description ? ": " : "", description ? description : "");
        return -EBADMSG;
    }
    struct oauth_device device = {0};
    int result = response->status == 200 ? device_fill(json, &device) : -EBADMSG;
    if (result) {
        oauth_device_release(&device);
        words_set(words, "the provider's answer (HTTP %d) is no device authorization", response->status);
        return result;
    }
    *ret_device = device;
    return 0;
}
