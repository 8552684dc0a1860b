// Distance by insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
#include "nearest.h"
#include <string.h>
#include <strings.h>

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned rows[3][NEAREST_WORD_MAX + 1];
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            unsigned cost = a[i - 1] != b[j - 1];
            row[j] = smaller(smaller(last[j], row[j - 1]) + 1, last[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = smaller(row[j], before[j - 2] + 1);
        }
        unsigned *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[b_length];
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    size_t length = strlen(nearest->word), other = strlen(candidate);
    if (length == 0 || length > NEAREST_WORD_MAX || other > NEAREST_WORD_MAX)
        return;
    size_t shorter = length < other ? length : other, longer = length < other ? other : length;
    unsigned found;
    if (strcasecmp(nearest->word, candidate) == 0)
        found = 0;
    else if (shorter >= 3 && strncmp(nearest->word, candidate, shorter) == 0)
        found = 3; // one begins with the other: password, password_file
    else if (longer - shorter > 2)
        return;
    else
        found = distance(nearest->word, length, candidate, other);
    if (found > 3 || (found < 3 && found > (shorter <= 3 ? 1 : 2)))
        return;
    if (found == 3 && !(shorter >= 3 && strncmp(nearest->word, candidate, shorter) == 0))
        return;
    if (!nearest->best || found < nearest->distance) {
        nearest->best = candidate;
        nearest->distance = found;
    }
}
