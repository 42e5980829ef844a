// Command nats administers JetStream: the part of the official CLI's grammar that the SynOS services need.
// The official one is not in Debian, and its library (jsm.go) neither; Debian's client library is what this is built on.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
)

const usage = `usage: nats [flags] COMMAND [arguments] [flags]

  pub SUBJECT [BODY|-] [--count N] [--jetstream|-J]   {{Count}} in BODY is the number of the message; - reads stdin
  sub SUBJECT [--count N] [--raw]
  request SUBJECT [BODY|-]
  rtt
  account info [--json]

  stream ls [--json]
  stream info NAME [--json]
  stream add NAME --subjects A,B [--storage file|memory] [--retention limits|interest|work]
             [--max-msgs N] [--max-bytes SIZE] [--max-age D] [--dupe-window D]
  stream rm NAME --force
  stream purge NAME --force
  stream get NAME SEQUENCE [--raw] [--json]
  stream view NAME [--from SEQUENCE] [--count N] [--raw]

  consumer ls STREAM [--json]
  consumer info STREAM NAME [--json]
  consumer add STREAM NAME [--filter SUBJECT] [--ack explicit|none|all] [--deliver all|new|last]
  consumer next STREAM NAME [--count N] [--no-ack] [--raw]
  consumer rm STREAM NAME --force

  kv ls [--json]
  kv add BUCKET
  kv put BUCKET KEY VALUE|-
  kv get BUCKET KEY [--raw]
  kv del BUCKET KEY
  kv keys BUCKET
  kv rm BUCKET --force

  backup >ARCHIVE.tar               every stream with its consumers; spools one stream at a time in $TMPDIR
  restore [--replace] <ARCHIVE.tar  --replace deletes a stream that exists, once its copy in the archive is checked

flags of every command:
  --server URL, -s     default $NATS_URL, else nats://nats:4222
  --user NAME          default $NATS_USER, else synos
  --password-file PATH default /run/secrets/nats_password; /dev/null for a server that asks for none
  --timeout D          how long to wait for an answer, default 5s

There is no --password, and no password is taken from the environment or from the URL, on purpose:
anyone on the host can read a process' arguments, and "docker inspect" shows a container's environment.

Exit status: 0 done, 1 failed, 2 used wrongly.
`

// usageError is a mistake in the command line: exit status 2 instead of 1.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message }

func misused(format string, values ...any) error {
	return usageError{fmt.Sprintf(format, values...)}
}

// call is one run of the tool: what was asked for, and where it reads and writes.
type call struct {
	input
	in  io.Reader
	out *bufio.Writer
	nc  *nats.Conn
}

// note tells the person at the terminal something; stdout is for what was asked for.
func note(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}

func run(arguments []string) (err error) {
	in, err := parse(arguments)
	if err != nil {
		return err
	}
	if in.command == nil {
		fmt.Print(usage)
		return nil
	}
	c := &call{input: in, in: os.Stdin, out: bufio.NewWriterSize(os.Stdout, 64<<10)}
	defer func() {
		if c.nc != nil {
			c.nc.Close()
		}
		// what was printed before a failure is printed all the same, and a full disk is a failure
		if flushed := c.out.Flush(); err == nil {
			err = flushed
		}
	}()
	return in.command.run(c)
}

func main() {
	if len(os.Args) == 1 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	note("nats: error: %s", strings.TrimPrefix(err.Error(), "nats: "))
	var wrong usageError
	if errors.As(err, &wrong) {
		note("nats --help tells how it is used")
		os.Exit(2)
	}
	os.Exit(1)
}
