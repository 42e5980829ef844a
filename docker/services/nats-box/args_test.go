package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestFlagsStandAnywhere(t *testing.T) {
	for _, line := range []string{
		"--server nats://h:1 stream add S --subjects a,b --timeout=2s",
		"stream --timeout 2s add --subjects=a,b S -s nats://h:1",
	} {
		in, err := parse(strings.Fields(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if in.command.name != "stream add" || !slices.Equal(in.args, []string{"S"}) {
			t.Errorf("%s: %q %q", line, in.command.name, in.args)
		}
		timeout, err := in.duration("timeout", time.Hour)
		if in.flags["server"] != "nats://h:1" || in.flags["subjects"] != "a,b" || timeout != 2*time.Second || err != nil {
			t.Errorf("%s: %v %v", line, in.flags, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for value, good := range map[string]bool{"1": true, "5000": true, "0": false, "-1": false, "x": false, "": false} {
		in, err := parse([]string{"pub", "a", "--count", value})
		if err != nil {
			t.Fatal(err)
		}
		if number, err := in.number("count", 7); (err == nil) != good || good && strconv.Itoa(number) != value {
			t.Errorf("%q: %d %v", value, number, err)
		}
	}
}

func TestBodiesThatLookLikeFlags(t *testing.T) {
	in, err := parse([]string{"pub", "-J", "a.b", "--", "--count"})
	if err != nil || !slices.Equal(in.args, []string{"a.b", "--count"}) || !in.has("jetstream") {
		t.Errorf("%q %v %v", in.args, in.flags, err)
	}
	in, err = parse([]string{"pub", "a.b", "-"})
	if err != nil || !slices.Equal(in.args, []string{"a.b", "-"}) {
		t.Errorf("%q %v", in.args, err)
	}
}

func TestMistakesAreUsageErrors(t *testing.T) {
	for line, part := range map[string]string{
		"":                                   "no command",
		"--json":                             "no command",
		"stream":                             "unknown command",
		"stream frobnicate X":                "unknown command",
		"stream info":                        "takes 1 argument",
		"stream info A B":                    "takes 1 argument",
		"stream info A --raw":                "has no --raw",
		"stream rm A":                        "needs --force",
		"stream add A":                       "needs --subjects",
		"pub a --count":                      "needs a value",
		"stream ls --json=yes":               "takes no value",
		"stream ls -x":                       "unknown flag -x",
		"stream ls --creds x":                "unknown flag --creds",
		"--password secret stream ls":        "--password-file",
		"stream ls --password=secret":        "--password-file",
		"restore --force":                    "has no --force",
		"backup X":                           "takes no arguments",
		"consumer next A B --count 1 -- C D": "takes 2 argument",
	} {
		_, err := parse(strings.Fields(line))
		var wrong usageError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v", line, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q prints the password: %v", line, err)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, line := range []string{"help", "--help", "-h", "stream ls --help"} {
		if in, err := parse(strings.Fields(line)); err != nil || in.command != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, command := range commands() {
		if !strings.Contains(usage, "\n  "+command.name) {
			t.Errorf("the usage does not tell of %q", command.name)
		}
		for _, flag := range slices.Concat(command.flags, command.required) {
			if _, known := takesValue[flag]; !known {
				t.Errorf("%q has a flag %q that nobody knows", command.name, flag)
			}
		}
	}
}

func TestStreamConfig(t *testing.T) {
	in, err := parse(strings.Fields("stream add S --subjects a,b.> --storage memory --retention work --max-msgs 5 " +
		"--max-bytes 2KB --max-age 2d --dupe-window 30s"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := streamConfig(in)
	if err != nil {
		t.Fatal(err)
	}
	if config.Name != "S" || !slices.Equal(config.Subjects, []string{"a", "b.>"}) || config.Storage != nats.MemoryStorage ||
		config.Retention != nats.WorkQueuePolicy || config.MaxMsgs != 5 || config.MaxBytes != 2048 ||
		config.MaxAge != 48*time.Hour || config.Duplicates != 30*time.Second {
		t.Errorf("%+v", config)
	}
	for _, line := range []string{"S --storage tape", "S --retention all", "S --max-msgs 0", "S --max-msgs x", "S --max-bytes 1X",
		"S --max-age tomorrow", "S.T", "*"} {
		in, err := parse(strings.Fields("stream add --subjects a " + line))
		if err == nil {
			_, err = streamConfig(in)
		}
		var wrong usageError
		if !errors.As(err, &wrong) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"A", "KV_cfg", "OBJ_files", "with-dash", "größe", "$x"} {
		if !validName(name) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", ".", "..", "a.b", "a b", "a/b", `a\b`, "*", ">", "a\x00", "a\n", "\xff", strings.Repeat("a", 256)} {
		if validName(name) {
			t.Errorf("%q is taken", name)
		}
	}
}
