// Tests of the parts of synos-welcome. Exits with 1 where a check fails.
#include "addresses.h"
#include "greeting.h"
#include "os_release.h"
#include "text.h"
#include "users.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tally {
    int checks;
    int failures;
};

#define CHECK(tally, condition) check(tally, condition, #condition, __LINE__)
#define CHECK_TEXT(tally, actual, expected) check_text(tally, actual, expected, __LINE__)
#define OS_RELEASE(text) text, sizeof(text) - 1

static void check(struct tally *tally, bool holds, const char *what, int line)
{
    tally->checks++;
    if (!holds) {
        tally->failures++;
        printf("tests/unit.c:%d: not so: %s\n", line, what);
    }
}

// NULL equals NULL only.
static void check_text(struct tally *tally, const char *actual, const char *expected, int line)
{
    bool same = actual != NULL && expected != NULL ? strcmp(actual, expected) == 0 : actual == expected;

    tally->checks++;
    if (!same) {
        tally->failures++;
        printf("tests/unit.c:%d: <%s> rather than <%s>\n", line, actual != NULL ? actual : "(null)",
               expected != NULL ? expected : "(null)");
    }
}

static void check_clean(struct tally *tally, int line, const char *value, size_t columns, bool utf8,
                        const char *expected)
{
    char *text = text_clean(value, columns, utf8);
    check_text(tally, text, expected, line);
    free(text);
}

#define CHECK_CLEAN(tally, value, columns, utf8, expected) \
    check_clean(tally, __LINE__, value, columns, utf8, expected)

static void test_text_controls(struct tally *tally)
{
    CHECK_CLEAN(tally, "", 10, true, "");
    CHECK_CLEAN(tally, "SynOS 1.0", 10, true, "SynOS 1.0");
    CHECK_CLEAN(tally, "a\033[31mb\r\n\t\a\177c", 20, true, "a[31mbc");
    CHECK_CLEAN(tally, " \t both ends  ", 20, true, "both ends");
    CHECK_CLEAN(tally, " \033 \n", 20, true, "");
    CHECK_CLEAN(tally, "c1 \xc2\x9b" "2J csi", 20, true, "c1 2J csi");
    CHECK_CLEAN(tally, "bidi \xe2\x80\xae" "txt.exe", 20, true, "bidi txt.exe");
    CHECK_CLEAN(tally, "zero\xe2\x80\x8b" "width\xef\xbb\xbf", 20, true, "zerowidth");
    CHECK_CLEAN(tally, "tag\xf3\xa0\x81\x81", 20, true, "tag");
}

static void test_text_utf8(struct tally *tally)
{
    CHECK_CLEAN(tally, "Gr\xc3\xbc\xc3\x9f" "e", 10, true, "Gr\xc3\xbc\xc3\x9f" "e");
    CHECK_CLEAN(tally, "Gr\xc3\xbc\xc3\x9f" "e", 10, false, "Gr??e");
    CHECK_CLEAN(tally, "\xf0\x9f\x90\xa7", 10, true, "\xf0\x9f\x90\xa7");
    CHECK_CLEAN(tally, "lone \x9b", 10, true, "lone ?");
    CHECK_CLEAN(tally, "cut \xe2\x82", 10, true, "cut ??");
    CHECK_CLEAN(tally, "\xe2\x82z", 10, true, "??z");
    CHECK_CLEAN(tally, "long \xc0\x9b", 10, true, "long ??");         // overlong
    CHECK_CLEAN(tally, "\xe0\x82\x9b", 10, true, "???");              // overlong U+009B
    CHECK_CLEAN(tally, "\xed\xa0\x80", 10, true, "???");              // surrogate
    CHECK_CLEAN(tally, "\xf4\x90\x80\x80", 10, true, "????");         // beyond Unicode
    CHECK_CLEAN(tally, "\xff\xfe", 10, true, "??");
}

static void test_text_cut(struct tally *tally)
{
    CHECK_CLEAN(tally, "1234567890", 10, true, "1234567890");
    CHECK_CLEAN(tally, "12345678901", 10, true, "1234567...");
    CHECK_CLEAN(tally, "123456 8901", 10, true, "123456...");
    CHECK_CLEAN(tally, "1234", 3, true, "...");
    // never within a character, and a wide one counts as two columns
    CHECK_CLEAN(tally, "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc", 4, true, "\xc3\xbc...");
    CHECK_CLEAN(tally, "\xe4\xb8\xad\xe4\xb8\xad", 4, true, "\xe4\xb8\xad\xe4\xb8\xad");
    CHECK_CLEAN(tally, "\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad", 5, true, "\xe4\xb8\xad...");
}

static void check_value(struct tally *tally, int line, const char *text, size_t length, const char *expected)
{
    struct os_release release = {0};
    // a copy of just that length, so that a sanitizer sees any step beyond it
    char *copy = malloc(length > 0 ? length : 1);

    memcpy(copy, text, length);
    check(tally, os_release_parse(&release, copy, length), "parsed", line);
    check_text(tally, release.name, expected, line);
    free(copy);
    os_release_free(&release);
}

#define CHECK_VALUE(tally, text, expected) check_value(tally, __LINE__, OS_RELEASE(text), expected)

static void test_quoting(struct tally *tally)
{
    CHECK_VALUE(tally, "NAME=SynOS", "SynOS");
    CHECK_VALUE(tally, "NAME=", "");
    CHECK_VALUE(tally, "NAME=\"\"", "");
    CHECK_VALUE(tally, "NAME=\"Syn OS\"\n", "Syn OS");
    CHECK_VALUE(tally, "NAME='Syn OS'\n", "Syn OS");
    CHECK_VALUE(tally, "NAME='it'\\''s'\n", "it's");
    CHECK_VALUE(tally, "NAME=Syn\\ OS\n", "Syn OS");
    CHECK_VALUE(tally, "NAME=a\"b c\"'d e'f\n", "ab cd ef");
    CHECK_VALUE(tally, "NAME=\"a\\\"b\\\\c\\$d\\`e\\nf\"\n", "a\"b\\c$d`e\\nf");
    CHECK_VALUE(tally, "NAME='a\\\"b\\\\c'\n", "a\\\"b\\\\c");
    CHECK_VALUE(tally, "NAME=\"$(reboot) $HOME `id`\"\n", "$(reboot) $HOME `id`");
    CHECK_VALUE(tally, "NAME=\"'\"\n", "'");
    CHECK_VALUE(tally, "NAME='\"'\n", "\"");
    CHECK_VALUE(tally, "NAME=\"a=b\"\n", "a=b");
}

static void test_broken_values(struct tally *tally)
{
    CHECK_VALUE(tally, "NAME=\"open\n", NULL);
    CHECK_VALUE(tally, "NAME=\"open\\\"\n", NULL);
    CHECK_VALUE(tally, "NAME=\"open\\", NULL);
    CHECK_VALUE(tally, "NAME='open\nPRETTY_NAME=x'\n", NULL);
    CHECK_VALUE(tally, "NAME=\"", NULL);
    CHECK_VALUE(tally, "NAME='", NULL);
    CHECK_VALUE(tally, "NAME=\\", NULL);
    CHECK_VALUE(tally, "NAME=two words\n", NULL);
    CHECK_VALUE(tally, "NAME=\"a\" b\n", NULL);
    CHECK_VALUE(tally, "NAME=good\nNAME='bad\n", "good");
    CHECK_VALUE(tally, "NAME=a\0b\n", "ab");
    CHECK_VALUE(tally, "NAME=\"a\\\0b\"\n", "a\\b");
}

static void test_lines(struct tally *tally)
{
    CHECK_VALUE(tally, "", NULL);
    CHECK_VALUE(tally, "\n\n=\n", NULL);
    CHECK_VALUE(tally, "NAME", NULL);
    CHECK_VALUE(tally, "# NAME=a\n#NAME=b\n", NULL);
    CHECK_VALUE(tally, "  NAME=a  # a comment\n", "a");
    CHECK_VALUE(tally, "NAME=a#b\n", "a#b");
    CHECK_VALUE(tally, "NAME =a\n", NULL);
    CHECK_VALUE(tally, "NAME= a\n", NULL);
    CHECK_VALUE(tally, "NAMES=a\nNAM=b\nname=c\nXNAME=d\n", NULL);
    CHECK_VALUE(tally, "NAME=a\nNAME=b\n", "b");
    CHECK_VALUE(tally, "NAME=a\r\nID=b\r\n", "a");
    CHECK_VALUE(tally, "NAME=\"a b\"\t\r\n", "a b");
}

static void test_os_release_keys(struct tally *tally)
{
    struct os_release release = {0};

    CHECK(tally, os_release_parse(&release, OS_RELEASE("NAME=n\nPRETTY_NAME=p\nBUILD_ID=b\nVARIANT=v\n"
                                                       "VARIANT_ID=i\nVERSION=no\n")));
    CHECK_TEXT(tally, release.name, "n");
    CHECK_TEXT(tally, release.pretty_name, "p");
    CHECK_TEXT(tally, release.build_id, "b");
    CHECK_TEXT(tally, release.variant, "v");
    CHECK_TEXT(tally, release.variant_id, "i");
    os_release_free(&release);
    CHECK(tally, release.name == NULL && release.variant_id == NULL);
}

// A file of the given size that ends in an assignment.
static bool read_file_of(size_t size, struct os_release *release)
{
    static const char last[] = "\nNAME=end";
    size_t comment = size - (sizeof last - 1);
    FILE *file = tmpfile();

    for (size_t i = 0; i < comment; i++) {
        fputc('#', file);
    }
    fputs(last, file);
    rewind(file);
    bool read = os_release_read(release, file);
    int error = errno;
    fclose(file);
    errno = error;
    return read;
}

static void test_os_release_size(struct tally *tally)
{
    struct os_release release = {0};

    CHECK(tally, read_file_of(64 * 1024, &release));
    CHECK_TEXT(tally, release.name, "end");
    os_release_free(&release);
    CHECK(tally, !read_file_of(64 * 1024 + 1, &release));
    CHECK(tally, errno == EFBIG);
    CHECK(tally, release.name == NULL);
}

static void check_person(struct tally *tally, int line, const char *passwd, const char *expected)
{
    FILE *file = tmpfile();
    char *name = NULL;

    fputs(passwd, file);
    rewind(file);
    check(tally, users_first_person(&name, file), "looked through", line);
    check_text(tally, name, expected, line);
    free(name);
    fclose(file);
}

#define CHECK_PERSON(tally, passwd, expected) check_person(tally, __LINE__, passwd, expected)

static void test_users(struct tally *tally)
{
    CHECK_PERSON(tally, "", NULL);
    CHECK_PERSON(tally, "root:x:0:0::/root:/bin/bash\nsynos:x:1000:1000::/home/synos:/bin/bash\n", "synos");
    CHECK_PERSON(tally, "a:x:999:1::/:/bin/sh\nb:x:60000:1::/:/bin/sh\nnobody:x:65534:1::/:/bin/sh\n", NULL);
    CHECK_PERSON(tally, "a:x:59999:1::/:/bin/sh\n", "a");
    CHECK_PERSON(tally, "a:x:4294968296:1::/:/bin/sh\n", NULL); // 1000 in 32 bits
    CHECK_PERSON(tally, "a:x:1000:1::/:/usr/sbin/nologin\nb:x:1001:1::/:/bin/false\nc:x:1002:1::/:/bin/zsh\n", "c");
    CHECK_PERSON(tally, "late:x:1005:1::/:/bin/sh\nlow:x:1000:1::/:/bin/sh\n", "late");
    CHECK_PERSON(tally, "a:x:1000:1::/:\n", "a");
    CHECK_PERSON(tally, "a:x:1000:1::/:/bin/sh", "a");
    CHECK_PERSON(tally, "junk\n\n:::::\n:x:1000:1::/:/bin/sh\nb:x:abc:1::/:/bin/sh\nc:x:1000:1::/:/bin/sh\n", "c");
}

static void test_users_of_system(struct tally *tally)
{
    char *name = NULL;

    CHECK(tally, users_first_person(&name, NULL));
    CHECK(tally, name == NULL || *name != '\0');
    free(name);
}

union socket_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct interface {
    const char *name;
    unsigned int flags;
    const char *address; // NULL: none
};

// What getifaddrs() would give for the interfaces, handed on to addresses_collect().
static bool collect(struct address_list *list, const struct interface *interfaces, size_t count)
{
    struct ifaddrs *entries = calloc(count, sizeof *entries);
    union socket_address *sockets = calloc(count, sizeof *sockets);

    for (size_t i = 0; i < count; i++) {
        const char *address = interfaces[i].address;
        entries[i].ifa_next = i + 1 < count ? &entries[i + 1] : NULL;
        entries[i].ifa_name = strdup(interfaces[i].name);
        entries[i].ifa_flags = interfaces[i].flags;
        entries[i].ifa_addr = address != NULL ? &sockets[i].any : NULL;
        if (address != NULL && inet_pton(AF_INET, address, &sockets[i].v4.sin_addr) == 1) {
            sockets[i].any.sa_family = AF_INET;
        } else if (address != NULL && inet_pton(AF_INET6, address, &sockets[i].v6.sin6_addr) == 1) {
            sockets[i].any.sa_family = AF_INET6;
        } else {
            sockets[i].any.sa_family = AF_PACKET;
        }
    }
    bool collected = addresses_collect(list, entries);
    for (size_t i = 0; i < count; i++) {
        free(entries[i].ifa_name);
    }
    free(entries);
    free(sockets);
    return collected;
}

static void test_addresses(struct tally *tally)
{
    static const struct interface interfaces[] = {
        {"lo", IFF_UP | IFF_LOOPBACK, "127.0.0.1"},
        {"eth0", IFF_UP, "mac"},
        {"tun0", IFF_UP, NULL},
        {"down0", 0, "192.0.2.9"},
        {"eth0", IFF_UP, "192.0.2.1"},
        {"w\033[2J", IFF_UP, "192.0.2.2"},
        {"lo", IFF_UP | IFF_LOOPBACK, "::1"},
        {"eth0", IFF_UP, "fe80::1"},
        {"eth0", IFF_UP, "2001:db8::1"},
        {"a-name-that-is-far-too-long", IFF_UP, "2001:db8::2"},
    };
    struct address_list list = {0};

    CHECK(tally, collect(&list, interfaces, sizeof interfaces / sizeof interfaces[0]));
    CHECK(tally, list.count == 4);
    if (list.count == 4) {
        CHECK_TEXT(tally, list.items[0].interface, "eth0");
        CHECK_TEXT(tally, list.items[0].text, "192.0.2.1");
        CHECK_TEXT(tally, list.items[1].interface, "eth0");
        CHECK_TEXT(tally, list.items[1].text, "2001:db8::1");
        CHECK_TEXT(tally, list.items[2].interface, "w?[2J");
        CHECK_TEXT(tally, list.items[3].interface, "a-name-that-is-");
    }
    addresses_free(&list);
    CHECK(tally, addresses_collect(&list, NULL) && list.count == 0);
    CHECK(tally, addresses_read(&list));
    addresses_free(&list);
}

static char *print(const struct greeting *greeting, const struct address_list *addresses, bool colour)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    greeting_print(out, greeting, addresses, colour);
    fclose(out);
    return text;
}

static void check_print(struct tally *tally, int line, const struct greeting *greeting,
                        const struct address_list *addresses, bool colour, const char *expected)
{
    char *text = print(greeting, addresses, colour);
    check_text(tally, text, expected, line);
    free(text);
}

static void test_fill(struct tally *tally)
{
    struct greeting greeting = {0};
    struct os_release release = {0};

    CHECK(tally, greeting_fill(&greeting, &release, NULL, NULL, true));
    CHECK_TEXT(tally, greeting.product, "Linux");
    CHECK_TEXT(tally, greeting.build, "unknown");
    CHECK_TEXT(tally, greeting.profile, NULL);
    CHECK_TEXT(tally, greeting.host, "unknown");
    CHECK_TEXT(tally, greeting.user, NULL);
    greeting_free(&greeting);

    CHECK(tally, os_release_parse(&release, OS_RELEASE("NAME=n\nPRETTY_NAME=' '\nVARIANT_ID=i\nBUILD_ID=\n")));
    CHECK(tally, greeting_fill(&greeting, &release, "h\033", "u\n", true));
    CHECK_TEXT(tally, greeting.product, "n");
    CHECK_TEXT(tally, greeting.build, "unknown");
    CHECK_TEXT(tally, greeting.profile, "i");
    CHECK_TEXT(tally, greeting.host, "h");
    CHECK_TEXT(tally, greeting.user, "u");
    greeting_free(&greeting);

    CHECK(tally, os_release_parse(&release, OS_RELEASE("PRETTY_NAME=p\xc3\xbc\nVARIANT=v\nBUILD_ID=b\n")));
    CHECK(tally, greeting_fill(&greeting, &release, "h", "u", false));
    CHECK_TEXT(tally, greeting.product, "p?");
    CHECK_TEXT(tally, greeting.build, "b");
    CHECK_TEXT(tally, greeting.profile, "v");
    greeting_free(&greeting);
    os_release_free(&release);
}

static void test_print(struct tally *tally)
{
    static char product[] = "SynOS 1.0", build[] = "20260101", profile[] = "desktop", host[] = "synos", user[] = "me";
    static struct address items[] = {{"eth0", "192.0.2.1"}, {"eth0", "2001:db8::1"}, {"wlan0", "192.0.2.2"}};
    struct greeting greeting = {product, build, profile, host, user};
    struct address_list addresses = {items, 3};
    struct address_list none = {0};

    check_print(tally, __LINE__, &greeting, &addresses, false,
                "\n  Welcome to SynOS 1.0\n\n"
                "  build    20260101\n"
                "  profile  desktop\n"
                "  host     synos\n"
                "  network  eth0   192.0.2.1  2001:db8::1\n"
                "           wlan0  192.0.2.2\n"
                "  user     me\n\n");
    greeting.profile = NULL;
    check_print(tally, __LINE__, &greeting, &none, false,
                "\n  Welcome to SynOS 1.0\n\n"
                "  build    20260101\n"
                "  host     synos\n"
                "  network  no network address yet\n"
                "  user     me\n\n");
    greeting.user = NULL;
    check_print(tally, __LINE__, &greeting, &none, true,
                "\n  \033[1mWelcome to SynOS 1.0\033[0m\n\n"
                "  \033[36mbuild    \033[0m20260101\n"
                "  \033[36mhost     \033[0msynos\n"
                "  \033[36mnetwork  \033[0mno network address yet\n\n");
}

static void check_width(struct tally *tally, char *text)
{
    int lines = 0;

    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), lines++) {
        CHECK(tally, strlen(line) <= 80);
    }
    CHECK(tally, lines < 24);
}

static void test_width(struct tally *tally)
{
    char longest[300];
    struct address items[20] = {0};
    struct address_list addresses = {items, 20};
    struct greeting greeting = {0};

    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < 20; i++) {
        snprintf(items[i].interface, sizeof items[i].interface, "interface-name%c", i < 10 ? 'a' : 'b');
        memset(items[i].text, 'f', i % 2 == 0 ? INET6_ADDRSTRLEN - 1 : 7);
    }
    struct os_release release = {.name = longest, .build_id = longest, .variant = longest};
    CHECK(tally, greeting_fill(&greeting, &release, longest, longest, true));
    char *text = print(&greeting, &addresses, false);
    CHECK(tally, strstr(text, "\n           and 8 more\n") != NULL);
    CHECK(tally, strstr(text, "xxx...\n") != NULL);
    check_width(tally, text);
    free(text);
    greeting_free(&greeting);
}

// 14 columns stand before the first address and 2 between them: 39 and 25 more make 80.
static void test_wrapping(struct tally *tally)
{
    static char product[] = "p", build[] = "b", host[] = "h";
    struct address items[2] = {{.interface = "i"}, {.interface = "i"}};
    struct address_list addresses = {items, 2};
    struct greeting greeting = {.product = product, .build = build, .host = host};

    memset(items[0].text, 'a', 39);
    memset(items[1].text, 'b', 25);
    char *text = print(&greeting, &addresses, false);
    CHECK(tally, strstr(text, "a  bbb") != NULL);
    free(text);
    memset(items[1].text, 'b', 26);
    text = print(&greeting, &addresses, false);
    CHECK(tally, strstr(text, "a\n              bbb") != NULL);
    free(text);
}

static void test_colour(struct tally *tally)
{
    CHECK(tally, greeting_wants_colour(true, NULL, "linux"));
    CHECK(tally, !greeting_wants_colour(false, NULL, "linux"));
    CHECK(tally, !greeting_wants_colour(true, "1", "linux"));
    CHECK(tally, !greeting_wants_colour(true, "", "linux"));
    CHECK(tally, !greeting_wants_colour(true, NULL, "dumb"));
    CHECK(tally, !greeting_wants_colour(true, NULL, ""));
    CHECK(tally, !greeting_wants_colour(true, NULL, NULL));
}

int main(void)
{
    static void (*const tests[])(struct tally *) = {
        test_text_controls, test_text_utf8,       test_text_cut,        test_quoting,
        test_broken_values, test_lines,           test_os_release_keys, test_os_release_size,
        test_users,         test_users_of_system, test_addresses,       test_fill,
        test_print,         test_width,           test_wrapping,        test_colour,
    };
    struct tally tally = {0};

    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        tests[i](&tally);
    }
    printf("unit: %d checks, %d failed\n", tally.checks, tally.failures);
    return tally.failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
