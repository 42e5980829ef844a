package main

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// command is what one or two words at the front of the line stand for.
type command struct {
	name     string
	least    int // positional arguments after the name
	most     int
	flags    []string // beside those of every command
	required []string
	run      func(*call) error
}

// input is a command line that was understood.
type input struct {
	command *command
	args    []string
	flags   map[string]string
}

// Each flag takes a value or not, whatever the command: so flags can be told from arguments before the command is known.
var takesValue = map[string]bool{
	"server": true, "user": true, "password-file": true, "timeout": true,
	"count": true, "subjects": true, "storage": true, "retention": true, "max-msgs": true, "max-bytes": true,
	"max-age": true, "dupe-window": true, "from": true, "filter": true, "ack": true, "deliver": true,
	"jetstream": false, "raw": false, "json": false, "force": false, "no-ack": false, "replace": false,
	// natscli asks questions unless it gets these; here they change nothing, so that what people know by heart works
	"defaults": false, "pull": false,
	"help": false,
}

var everywhere = []string{"server", "user", "password-file", "timeout", "help"}

var short = map[string]string{"s": "server", "J": "jetstream", "j": "json", "f": "force", "h": "help"}

func commands() []command {
	return []command{
		{name: "pub", least: 1, most: 2, flags: []string{"count", "jetstream"}, run: publish},
		{name: "sub", least: 1, most: 1, flags: []string{"count", "raw"}, run: subscribe},
		{name: "request", least: 1, most: 2, flags: []string{"raw"}, run: request},
		{name: "rtt", run: roundTrip},
		{name: "account info", flags: []string{"json"}, run: accountInfo},
		{name: "stream ls", flags: []string{"json"}, run: streamList},
		{name: "stream info", least: 1, most: 1, flags: []string{"json"}, run: streamInfo},
		{name: "stream add", least: 1, most: 1, run: streamAdd, required: []string{"subjects"},
			flags: []string{"subjects", "storage", "retention", "max-msgs", "max-bytes", "max-age", "dupe-window", "defaults"}},
		{name: "stream rm", least: 1, most: 1, flags: []string{"force"}, required: []string{"force"}, run: streamRemove},
		{name: "stream purge", least: 1, most: 1, flags: []string{"force"}, required: []string{"force"}, run: streamPurge},
		{name: "stream get", least: 2, most: 2, flags: []string{"raw", "json"}, run: streamGet},
		{name: "stream view", least: 1, most: 1, flags: []string{"from", "count", "raw"}, run: streamView},
		{name: "consumer ls", least: 1, most: 1, flags: []string{"json"}, run: consumerList},
		{name: "consumer info", least: 2, most: 2, flags: []string{"json"}, run: consumerInfo},
		{name: "consumer add", least: 2, most: 2, flags: []string{"filter", "ack", "deliver", "defaults", "pull"}, run: consumerAdd},
		{name: "consumer next", least: 2, most: 2, flags: []string{"count", "no-ack", "raw"}, run: consumerNext},
		{name: "consumer rm", least: 2, most: 2, flags: []string{"force"}, required: []string{"force"}, run: consumerRemove},
		{name: "kv ls", flags: []string{"json"}, run: kvList},
		{name: "kv add", least: 1, most: 1, run: kvAdd},
		{name: "kv put", least: 3, most: 3, run: kvPut},
		{name: "kv get", least: 2, most: 2, flags: []string{"raw"}, run: kvGet},
		{name: "kv del", least: 2, most: 2, run: kvDelete},
		{name: "kv keys", least: 1, most: 1, run: kvKeys},
		{name: "kv rm", least: 1, most: 1, flags: []string{"force"}, required: []string{"force"}, run: kvRemove},
		{name: "backup", run: backup},
		{name: "restore", flags: []string{"replace"}, run: restore},
	}
}

// parse reads a command line; without a command in the result, it asks for help.
func parse(arguments []string) (input, error) {
	words, flags, err := split(arguments)
	if err != nil {
		return input{}, err
	}
	if _, asked := flags["help"]; asked || slices.Equal(words, []string{"help"}) {
		return input{}, nil
	}
	if len(words) == 0 {
		return input{}, misused("no command")
	}
	found, args := lookup(words)
	if found == nil {
		return input{}, misused("unknown command %q", strings.Join(words[:min(2, len(words))], " "))
	}
	if len(args) < found.least || len(args) > found.most {
		return input{}, misused("%q takes %s, not %d", found.name, arity(*found), len(args))
	}
	for name := range flags {
		if !slices.Contains(everywhere, name) && !slices.Contains(found.flags, name) {
			return input{}, misused("%q has no --%s", found.name, name)
		}
	}
	for _, name := range found.required {
		if _, given := flags[name]; !given {
			return input{}, misused("%q needs --%s", found.name, name)
		}
	}
	return input{command: found, args: args, flags: flags}, nil
}

// split tells flags, which may stand anywhere, from words. What follows -- is words, so that a body may begin with a dash.
func split(arguments []string) (words []string, flags map[string]string, err error) {
	flags = map[string]string{}
	for i := 0; i < len(arguments); i++ {
		argument := arguments[i]
		if argument == "--" {
			return append(words, arguments[i+1:]...), flags, nil
		}
		if argument == "-" || !strings.HasPrefix(argument, "-") {
			words = append(words, argument)
			continue
		}
		name, value, joined := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		if !strings.HasPrefix(argument, "--") {
			long, known := short[name]
			if !known {
				return nil, nil, misused("unknown flag -%s", name)
			}
			name = long
		}
		valued, known := takesValue[name]
		switch {
		case name == "password":
			return nil, nil, misused("there is no --password, because anyone on the host can read it: use --password-file")
		case !known:
			return nil, nil, misused("unknown flag --%s", name)
		case valued && !joined:
			if i++; i == len(arguments) {
				return nil, nil, misused("--%s needs a value", name)
			}
			value = arguments[i]
		case !valued && joined:
			return nil, nil, misused("--%s takes no value", name)
		}
		flags[name] = value
	}
	return words, flags, nil
}

func lookup(words []string) (*command, []string) {
	for _, candidate := range commands() {
		parts := strings.Fields(candidate.name)
		if len(words) >= len(parts) && slices.Equal(words[:len(parts)], parts) {
			return &candidate, words[len(parts):]
		}
	}
	return nil, nil
}

func arity(c command) string {
	switch {
	case c.most == 0:
		return "no arguments"
	case c.least == c.most:
		return strconv.Itoa(c.least) + " argument(s)"
	}
	return strconv.Itoa(c.least) + " to " + strconv.Itoa(c.most) + " arguments"
}

func (in input) has(flag string) bool {
	_, given := in.flags[flag]
	return given
}

func (in input) text(flag, otherwise string) string {
	if value, given := in.flags[flag]; given {
		return value
	}
	return otherwise
}

// number reads a flag that counts something: at least one.
func (in input) number(flag string, otherwise int) (int, error) {
	value, given := in.flags[flag]
	if !given {
		return otherwise, nil
	}
	number, err := strconv.Atoi(value)
	if err != nil || number < 1 {
		return 0, misused("--%s takes a number from 1, not %q", flag, value)
	}
	return number, nil
}

func (in input) duration(flag string, otherwise time.Duration) (time.Duration, error) {
	value, given := in.flags[flag]
	if !given {
		return otherwise, nil
	}
	duration, err := parseDuration(value)
	if err != nil {
		return 0, misused("--%s takes a duration such as 90s, 12h or 7d, not %q", flag, value)
	}
	return duration, nil
}

// pick reads a flag with a fixed set of values, and gives what the server calls the chosen one.
func (in input) pick(flag, otherwise string, choices ...[2]string) (string, error) {
	value := in.text(flag, otherwise)
	var known []string
	for _, choice := range choices {
		if choice[0] == value {
			return choice[1], nil
		}
		known = append(known, choice[0])
	}
	return "", misused("--%s is one of %s, not %q", flag, strings.Join(known, ", "), value)
}
