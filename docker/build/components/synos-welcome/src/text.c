// Makes text from untrusted sources fit for a terminal.
#include "text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct range {
    uint32_t first;
    uint32_t last;
};

// What one step of reading yields: bytes to show (none where length is 0), the columns they may take.
struct glyph {
    const unsigned char *bytes;
    size_t length;
    size_t columns;
    size_t consumed;
};

// Control characters, and those that hide text or turn its direction around.
static const struct range unseen[] = {
    {0x0001, 0x001f}, {0x007f, 0x009f}, {0x00ad, 0x00ad}, {0x034f, 0x034f}, {0x061c, 0x061c},
    {0x115f, 0x1160}, {0x180b, 0x180f}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},
    {0x3164, 0x3164}, {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xffa0, 0xffa0}, {0xfff0, 0xfffb},
    {0xe0000, 0xe0fff},
};

static const char ellipsis[] = "...";

static bool is_unseen(uint32_t point)
{
    for (size_t i = 0; i < sizeof unseen / sizeof unseen[0]; i++) {
        if (point >= unseen[i].first && point <= unseen[i].last) {
            return true;
        }
    }
    return false;
}

static size_t sequence_length(unsigned char lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if ((lead & 0xe0) == 0xc0) {
        return 2;
    }
    if ((lead & 0xf0) == 0xe0) {
        return 3;
    }
    return (lead & 0xf8) == 0xf0 ? 4 : 0;
}

// The bytes of the code point at the start of a string, 0 where there is no valid one. Overlong forms
// and surrogates are refused: they would carry control characters past the check.
static size_t decode(const unsigned char *bytes, uint32_t *point)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = sequence_length(bytes[0]);

    if (length <= 1) {
        *point = bytes[0];
        return length;
    }
    uint32_t value = bytes[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        // the final NUL is no continuation either, so this never reads beyond it
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (bytes[i] & 0x3fu);
    }
    if (value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return 0;
    }
    *point = value;
    return length;
}

static struct glyph next_glyph(const unsigned char *bytes, bool utf8)
{
    static const unsigned char unknown[] = "?";
    uint32_t point = 0;
    size_t length = decode(bytes, &point);

    if (length == 0) {
        return (struct glyph){unknown, 1, 1, 1};
    }
    if (is_unseen(point)) {
        return (struct glyph){bytes, 0, 0, length};
    }
    // on an 8-bit terminal a byte of a sequence can be a control character
    if (length > 1 && !utf8) {
        return (struct glyph){unknown, 1, 1, length};
    }
    // Wide characters all come after this point. To count narrow ones there as wide cuts early, never late.
    return (struct glyph){bytes, length, point < 0x1100 ? 1 : 2, length};
}

static size_t without_blanks(const char *text, size_t length)
{
    while (length > 0 && text[length - 1] == ' ') {
        length--;
    }
    return length;
}

char *text_clean(const char *value, size_t columns, bool utf8)
{
    const unsigned char *next = (const unsigned char *)value;
    char *text = malloc(strlen(value) + sizeof ellipsis);
    size_t used = 0;
    size_t width = 0;
    size_t cut_at = 0; // the longest beginning that leaves room for the ellipsis

    if (text == NULL) {
        return NULL;
    }
    while (*next != '\0') {
        struct glyph glyph = next_glyph(next, utf8);
        next += glyph.consumed;
        if (used == 0 && glyph.length == 1 && *glyph.bytes == ' ') {
            continue;
        }
        if (width + glyph.columns > columns) {
            used = without_blanks(text, cut_at);
            memcpy(text + used, ellipsis, sizeof ellipsis);
            return text;
        }
        memcpy(text + used, glyph.bytes, glyph.length);
        used += glyph.length;
        width += glyph.columns;
        if (width + strlen(ellipsis) <= columns) {
            cut_at = used;
        }
    }
    text[without_blanks(text, used)] = '\0';
    return text;
}
