// The command line of synos-welcome.
#include "addresses.h"
#include "greeting.h"
#include "os_release.h"
#include "users.h"

#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "synos-welcome"

enum { EXIT_USAGE = 2, HOST_ROOM = 256 };

enum action { GREET, SHOW_HELP, SHOW_VERSION, REFUSE };

struct options {
    enum action action;
    bool plain;
    const char *os_release;
    const char *passwd;
};

static const char help[] =
    "Usage: " PROGRAM " [OPTION]...\n"
    "Show product, build id, profile, host name, network addresses and user.\n"
    "\n"
    "  --plain            use no colour\n"
    "  --os-release FILE  read FILE rather than /etc/os-release\n"
    "  --passwd FILE      look for the user in FILE rather than in the user database\n"
    "  --help             show this help and exit\n"
    "  --version          show the version and exit\n";

static struct options parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"help", no_argument, NULL, 'h'},          {"version", no_argument, NULL, 'v'},
        {"plain", no_argument, NULL, 'p'},         {"os-release", required_argument, NULL, 'o'},
        {"passwd", required_argument, NULL, 'u'},  {NULL, 0, NULL, 0},
    };
    struct options options = {.action = GREET};
    int option = 0;

    while (options.action == GREET && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'h': options.action = SHOW_HELP; break;
        case 'v': options.action = SHOW_VERSION; break;
        case 'p': options.plain = true; break;
        case 'o': options.os_release = optarg; break;
        case 'u': options.passwd = optarg; break;
        default: options.action = REFUSE; // getopt_long() has said why
        }
    }
    if (options.action == GREET && optind < argc) {
        fprintf(stderr, PROGRAM ": unexpected argument '%s'\n", argv[optind]);
        options.action = REFUSE;
    }
    return options;
}

static bool complain(const char *path)
{
    fprintf(stderr, PROGRAM ": cannot read '%s': %s\n", path, strerror(errno));
    return false;
}

static bool load_release(struct os_release *release, const char *path)
{
    FILE *file = fopen(path, "re");
    bool loaded = file != NULL && os_release_read(release, file);

    if (file != NULL) {
        int error = errno;
        fclose(file);
        errno = error;
    }
    return loaded;
}

// A system without the file still gets its greeting, one who names a file gets told.
static bool find_release(struct os_release *release, const char *path)
{
    if (path != NULL) {
        return load_release(release, path) || complain(path);
    }
    if (!load_release(release, "/etc/os-release")) {
        load_release(release, "/usr/lib/os-release");
    }
    return true;
}

static bool find_user(char **user, const char *path)
{
    if (path == NULL) {
        users_first_person(user, NULL);
        return true;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return complain(path);
    }
    bool found_out = users_first_person(user, file) || complain(path);
    fclose(file);
    return found_out;
}

static bool fill(struct greeting *greeting, const struct os_release *release, const char *user)
{
    char host[HOST_ROOM] = "";

    // the last byte stays 0, which gethostname() does not promise for a name it cuts
    (void)!gethostname(host, sizeof host - 1);
    if (!greeting_fill(greeting, release, host, user, strcmp(nl_langinfo(CODESET), "UTF-8") == 0)) {
        fprintf(stderr, PROGRAM ": %s\n", strerror(errno));
        return false;
    }
    return true;
}

static bool flush(void)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, PROGRAM ": cannot write: %s\n", strerror(errno));
        return false;
    }
    return true;
}

static bool greet(const struct options *options)
{
    struct os_release release = {0};
    struct greeting greeting = {0};
    struct address_list addresses = {0};
    char *user = NULL;
    bool greeted = find_release(&release, options->os_release) && find_user(&user, options->passwd) &&
                   fill(&greeting, &release, user);

    if (greeted) {
        addresses_read(&addresses); // without them there is no address to show
        greeting_print(stdout, &greeting, &addresses,
                       !options->plain &&
                           greeting_wants_colour(isatty(STDOUT_FILENO) == 1, getenv("NO_COLOR"), getenv("TERM")));
        greeted = flush();
    }
    free(user);
    addresses_free(&addresses);
    greeting_free(&greeting);
    os_release_free(&release);
    return greeted;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    struct options options = parse(argc, argv);
    bool done = false;

    switch (options.action) {
    case GREET:
        done = greet(&options);
        break;
    case SHOW_HELP:
        fputs(help, stdout);
        done = flush();
        break;
    case SHOW_VERSION:
        puts(PROGRAM " " VERSION);
        done = flush();
        break;
    case REFUSE:
        fputs("Try '" PROGRAM " --help'.\n", stderr);
        return EXIT_USAGE;
    }
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
