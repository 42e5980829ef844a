// Puts the greeting together and prints it.
#include "greeting.h"

#include "text.h"

#include <stdlib.h>
#include <string.h>

enum {
    SCREEN = 80,
    MARGIN = 2,
    LABEL = 9,
    VALUE = 64,
    USER = 32, // room for the password behind it
    ADDRESSES = 12,
};

// The first value with something to show, cleaned; with none of them a copy of the fallback, if there is one.
static bool choose(char **chosen, const char *const values[2], const char *fallback, size_t columns, bool utf8)
{
    for (size_t i = 0; i < 2; i++) {
        if (values[i] == NULL) {
            continue;
        }
        *chosen = text_clean(values[i], columns, utf8);
        if (*chosen == NULL || **chosen != '\0') {
            return *chosen != NULL;
        }
        free(*chosen);
    }
    *chosen = fallback != NULL ? strdup(fallback) : NULL;
    return fallback == NULL || *chosen != NULL;
}

bool greeting_fill(struct greeting *greeting, const struct os_release *release, const char *host, const char *user,
                   bool utf8)
{
    const char *const product[] = {release->pretty_name, release->name};
    const char *const profile[] = {release->variant, release->variant_id};

    // "Linux" is what os-release(5) has us use
    return choose(&greeting->product, product, "Linux", VALUE, utf8) &&
           choose(&greeting->build, (const char *const[]){release->build_id, NULL}, "unknown", VALUE, utf8) &&
           choose(&greeting->profile, profile, NULL, VALUE, utf8) &&
           choose(&greeting->host, (const char *const[]){host, NULL}, "unknown", VALUE, utf8) &&
           choose(&greeting->user, (const char *const[]){user, NULL}, NULL, USER, utf8);
}

static void print_label(FILE *out, const char *label, bool colour)
{
    fprintf(out, "%*s%s%-*s%s", MARGIN, "", colour ? "\033[36m" : "", LABEL, label, colour ? "\033[0m" : "");
}

static void print_row(FILE *out, const char *label, const char *value, bool colour)
{
    if (value != NULL) {
        print_label(out, label, colour);
        fprintf(out, "%s\n", value);
    }
}

static size_t widest_interface(const struct address *items, size_t count)
{
    size_t widest = 0;

    for (size_t i = 0; i < count; i++) {
        size_t width = strlen(items[i].interface);
        widest = width > widest ? width : widest;
    }
    return widest;
}

// A line for each interface, more where its addresses do not fit into one.
static void print_addresses(FILE *out, const struct address *items, size_t count, bool colour)
{
    size_t width = widest_interface(items, count);
    size_t column = 0;

    print_label(out, "network", colour);
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && strcmp(items[i].interface, items[i - 1].interface) == 0;
        bool fits = same && column + 2 + strlen(items[i].text) <= SCREEN;
        if (!fits) {
            if (i > 0) {
                fprintf(out, "\n%*s", MARGIN + LABEL, "");
            }
            fprintf(out, "%-*s", (int)width, same ? "" : items[i].interface);
            column = MARGIN + LABEL + width;
        }
        fprintf(out, "  %s", items[i].text);
        column += 2 + strlen(items[i].text);
    }
    fputc('\n', out);
}

static void print_network(FILE *out, const struct address_list *addresses, bool colour)
{
    size_t shown = addresses->count < ADDRESSES ? addresses->count : ADDRESSES;

    if (shown == 0) {
        print_row(out, "network", "no network address yet", colour);
        return;
    }
    print_addresses(out, addresses->items, shown, colour);
    if (shown < addresses->count) {
        fprintf(out, "%*sand %zu more\n", MARGIN + LABEL, "", addresses->count - shown);
    }
}

static void print_user(FILE *out, const struct greeting *greeting, bool colour)
{
    if (greeting->user != NULL) {
        print_label(out, "user", colour);
        fprintf(out, "%s\n", greeting->user);
    }
}

void greeting_print(FILE *out, const struct greeting *greeting, const struct address_list *addresses, bool colour)
{
    fprintf(out, "\n%*s%sWelcome to %s%s\n\n", MARGIN, "", colour ? "\033[1m" : "", greeting->product,
            colour ? "\033[0m" : "");
    print_row(out, "build", greeting->build, colour);
    print_row(out, "profile", greeting->profile, colour);
    print_row(out, "host", greeting->host, colour);
    print_network(out, addresses, colour);
    print_user(out, greeting, colour);
    fputc('\n', out);
}

void greeting_free(struct greeting *greeting)
{
    free(greeting->product);
    free(greeting->build);
    free(greeting->profile);
    free(greeting->host);
    free(greeting->user);
    *greeting = (struct greeting){0};
}

bool greeting_wants_colour(bool terminal, const char *no_color, const char *term)
{
    return terminal && no_color == NULL && term != NULL && *term != '\0' && strcmp(term, "dumb") != 0;
}
