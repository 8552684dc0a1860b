// Dates as mail has them: RFC 5322 section 3.3, and what people write into X-Outtray-Not-Before and -Expires.
#ifndef OUTTRAY_AGENT_COMPOSE_MAIL_DATE_H
#define OUTTRAY_AGENT_COMPOSE_MAIL_DATE_H

#include <stdint.h>

#define MAIL_DATE_SIZE 40

// "Mon, 23 Nov 2026 15:04:05 +0000"; wall clock in ns. Times before 1900 and after 9999 are clamped.
void mail_date_format(int64_t wall, char ret_text[static MAIL_DATE_SIZE]);

// Reads an RFC 5322 date (obsolete zones and years, comments and a missing day of the week included), an RFC
// 3339 time, or "+2h" (s, m, h, d, w) after `from`. 0 and *ret_wall in ns, or -EINVAL; -ERANGE where no clock
// will ever say it.
int mail_date_parse(const char *text, int64_t from, int64_t *ret_wall);

#endif
