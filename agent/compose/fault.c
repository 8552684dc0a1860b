// Faults: see fault.h.
#include "fault.h"

#include "encoded_word.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// A character that a fixed-size array cut off is no fault of the text.
static bool is_cut_off(const char *text, size_t left)
{
    unsigned char first = (unsigned char)text[0];
    size_t step = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 1;
    if (left >= step)
        return false;
    for (size_t i = 1; i < left; i++)
        if (((unsigned char)text[i] & 0xC0) != 0x80)
            return false;
    return true;
}

void fault_make_printable(char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0, step; i < length; i += step) {
        step = text_utf8_step(text + i, length - i);
        unsigned char first = (unsigned char)text[i];
        bool c1_control = step == 2 && first == 0xC2 && (unsigned char)text[i + 1] < 0xA0;
        if (!step && is_cut_off(text + i, length - i)) {
            text[i] = '\0';
            return;
        }
        if (!step || first < ' ' || first == 0x7F) {
            text[i] = '?';
            step = 1;
        } else if (c1_control) {
            text[i] = text[i + 1] = '?';
        }
    }
}

int fault_set(struct outgoing_fault *fault, enum status_reason reason, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    (void)vsnprintf(fault->detail, sizeof fault->detail, format, list);
    va_end(list);
    fault->reason = reason;
    fault->fix[0] = '\0';
    fault_make_printable(fault->detail);
    return -EBADMSG;
}
