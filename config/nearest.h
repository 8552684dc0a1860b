// The known word that is nearest to a mistyped one.
//
// Calling sequence: a struct nearest with its word set and the rest zero; nearest_offer each known word; best
// is the answer, or NULL where nothing is near enough to be a guess worth making.
#ifndef OUTTRAY_CONFIG_NEAREST_H
#define OUTTRAY_CONFIG_NEAREST_H

#define NEAREST_WORD_MAX 64 // octets; longer words are near nothing

struct nearest {
    const char *word;
    const char *best; // borrowed from nearest_offer
    unsigned distance;
};

void nearest_offer(struct nearest *nearest, const char *candidate);

#endif
