// Reads the values of os-release(5) that the greeting shows.
#include "os_release.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Real files have less than 1 KiB: whatever is larger is no os-release.
enum { FILE_LIMIT = 64 * 1024 };

struct cursor {
    const char *next;
    const char *end;
};

static bool is_blank(char character)
{
    return character == ' ' || character == '\t' || character == '\r';
}

static void skip_blanks(struct cursor *line)
{
    while (line->next < line->end && is_blank(*line->next)) {
        line->next++;
    }
}

// The file is that of an attacker for all we know; a NUL would end the value early.
static char *append(char *out, char character)
{
    if (character != '\0') {
        *out++ = character;
    }
    return out;
}

// The three forms of a shell word. Each returns the end of what it wrote, NULL for a broken word.
static char *take_single_quoted(struct cursor *line, char *out)
{
    for (line->next++; line->next < line->end; line->next++) {
        if (*line->next == '\'') {
            line->next++;
            return out;
        }
        out = append(out, *line->next);
    }
    return NULL;
}

static char *take_double_quoted(struct cursor *line, char *out)
{
    for (line->next++; line->next < line->end; line->next++) {
        if (*line->next == '"') {
            line->next++;
            return out;
        }
        // only before these a backslash is an escape within double quotes
        if (*line->next == '\\' && line->end - line->next > 1 && line->next[1] != '\0' &&
            strchr("\"\\$`", line->next[1]) != NULL) {
            line->next++;
        }
        out = append(out, *line->next);
    }
    return NULL;
}

static char *take_bare(struct cursor *line, char *out)
{
    if (*line->next == '\\' && ++line->next == line->end) {
        return NULL;
    }
    return append(out, *line->next++);
}

// Writes the value at the start of line, which out has room for. As in a shell, parts with different
// quotes may follow each other and a comment may come last; but nothing is ever expanded.
static bool unquote(struct cursor line, char *out)
{
    while (out != NULL && line.next < line.end && !is_blank(*line.next)) {
        if (*line.next == '\'') {
            out = take_single_quoted(&line, out);
        } else if (*line.next == '"') {
            out = take_double_quoted(&line, out);
        } else {
            out = take_bare(&line, out);
        }
    }
    if (out == NULL) {
        return false;
    }
    *out = '\0';
    skip_blanks(&line);
    return line.next == line.end || *line.next == '#';
}

static char **slot_of(struct os_release *release, const char *key, size_t length)
{
    const struct {
        const char *key;
        char **slot;
    } slots[] = {
        {"NAME", &release->name},
        {"PRETTY_NAME", &release->pretty_name},
        {"BUILD_ID", &release->build_id},
        {"VARIANT", &release->variant},
        {"VARIANT_ID", &release->variant_id},
    };

    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        if (strlen(slots[i].key) == length && memcmp(slots[i].key, key, length) == 0) {
            return slots[i].slot;
        }
    }
    return NULL;
}

static bool parse_line(struct os_release *release, struct cursor line)
{
    skip_blanks(&line);
    size_t length = (size_t)(line.end - line.next);
    const char *equals = memchr(line.next, '=', length);
    char **slot = equals != NULL ? slot_of(release, line.next, (size_t)(equals - line.next)) : NULL;

    if (slot == NULL) {
        return true;
    }
    char *value = malloc(length);
    if (value == NULL) {
        return false;
    }
    line.next = equals + 1;
    if (!unquote(line, value)) {
        free(value);
        return true;
    }
    free(*slot);
    *slot = value;
    return true;
}

bool os_release_parse(struct os_release *release, const char *text, size_t length)
{
    const char *end = text + length;

    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *line_end = newline != NULL ? newline : end;
        if (!parse_line(release, (struct cursor){text, line_end})) {
            return false;
        }
        text = newline != NULL ? newline + 1 : end;
    }
    return true;
}

bool os_release_read(struct os_release *release, FILE *file)
{
    bool read = false;
    char *text = malloc(FILE_LIMIT + 1);

    if (text == NULL) {
        return false;
    }
    errno = 0;
    size_t length = fread(text, 1, FILE_LIMIT + 1, file);
    if (ferror(file)) {
        errno = errno != 0 ? errno : EIO;
    } else if (length > FILE_LIMIT) {
        errno = EFBIG;
    } else {
        read = os_release_parse(release, text, length);
    }
    free(text);
    return read;
}

void os_release_free(struct os_release *release)
{
    free(release->name);
    free(release->pretty_name);
    free(release->build_id);
    free(release->variant);
    free(release->variant_id);
    *release = (struct os_release){0};
}
