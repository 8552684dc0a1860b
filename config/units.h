// Numbers as they stand in the configuration: durations (1s 30s 10m 4h 7d), sizes (64k 25m 2g), counts,
// fractions.
//
// All return 0, -EINVAL where the text is none, -ERANGE where it is one that no variable could hold. Nothing
// depends on the locale.
#ifndef OUTTRAY_CONFIG_UNITS_H
#define OUTTRAY_CONFIG_UNITS_H

#include <stdint.h>

#define UNITS_TEXT_SIZE 32

int units_parse_count(const char *text, int64_t *ret_count);
int units_parse_duration(
    const char *text, int64_t *ret_ms); // not `never`: the caller knows where that is allowed
int units_parse_size(const char *text, int64_t *ret_octets); // k m g in powers of 1,024; without one: octets
int units_parse_fraction(const char *text, double *ret_fraction);

// The other way round, with the largest unit that gives a whole number.
void units_format_duration(int64_t ms, char ret_text[static UNITS_TEXT_SIZE]);
void units_format_size(int64_t octets, char ret_text[static UNITS_TEXT_SIZE]);

#endif
