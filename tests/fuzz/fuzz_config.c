// The configuration: a file of any content either loads or is refused with an error that can be printed.
#include "config/config.h"
#include "fuzz.h"
#include "spool-format/address.h"

static const char *check_mailbox(const char *text)
{
    struct mailbox mailbox = {0};
    const char *problem = mailbox_parse(text, &mailbox);
    if (!problem)
        mailbox_release(&mailbox);
    return problem;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct config_checks checks = {.address = address_problem, .mailbox = check_mailbox};
    char path[32];
    int fd = fuzz_file(data, size);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const struct config *config = NULL;
    struct config_findings findings = {0};
    int result = config_load(path, &checks, &config, &findings);
    close(fd);
    EXPECT(result == 0 || result == -EINVAL || result == -E2BIG || result == -EFBIG);
    EXPECT((result == 0) == (config != NULL));
    EXPECT(result == 0 || findings.n_errors > 0);
    for (size_t i = 0; i < findings.n; i++)
        for (const char *c = findings.items[i].text; *c; c++)
            EXPECT((unsigned char)*c >= ' ' && *c != 127);
    if (config) {
        EXPECT(findings.n_errors == 0 && config->n_accounts > 0);
        for (size_t i = 0; i < config->n_tenants; i++) {
            const struct config_tenant *tenant = &config->tenants[i];
            EXPECT(tenant->account && tenant->from && *tenant->from);
            EXPECT(config_find_tenant(config, tenant->name) == tenant);
        }
        for (size_t i = 0; i < config->n_accounts; i++)
            EXPECT(config->accounts[i].n_servers > 0 && *config->accounts[i].email);
        config_unref(config);
    }
    config_findings_release(&findings);
    return 0;
}
