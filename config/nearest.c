// Distance by insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
#include "nearest.h"
#include <string.h>
#include <strings.h>

#define BAND 2   // no guess is further away than that
#define FAR  100 // further than any

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

// The distance where it is at most BAND, else something larger; the lengths differ by BAND at most: only
// cells near the diagonal can be part of that, so a comparison costs little even where ten thousand names are
// offered.
static unsigned distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned rows[3][NEAREST_WORD_MAX + 2];
    unsigned *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length + 1; j++)
        last[j] = j <= BAND ? (unsigned)j : FAR;
    for (size_t i = 1; i <= a_length; i++) {
        size_t low = i > BAND ? i - BAND : 1, high = i + BAND < b_length ? i + BAND : b_length;
        unsigned least = row[low - 1] = low == 1 ? (unsigned)i : FAR;
        for (size_t j = low; j <= high; j++) {
            unsigned cost = a[i - 1] != b[j - 1];
            row[j] = smaller(smaller(last[j], row[j - 1]) + 1, last[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = smaller(row[j], before[j - 2] + 1);
            least = smaller(least, row[j]);
        }
        if (least > BAND)
            return FAR; // it never gets smaller again
        row[high + 1] = FAR;
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
    else if (longer - shorter > BAND)
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
