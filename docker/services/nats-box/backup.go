package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/term"
)

// metadata is backup.json as the official CLI writes it; what it holds is the server's business.
type metadata struct {
	Config json.RawMessage `json:"config"`
	State  json.RawMessage `json:"state"`
}

// facts is what this tool has to know of it.
type facts struct {
	Config struct {
		Name     string   `json:"name"`
		Storage  string   `json:"storage"`
		Subjects []string `json:"subjects"`
	} `json:"config"`
	State struct {
		Messages  uint64 `json:"messages"`
		First     uint64 `json:"first_seq"`
		Last      uint64 `json:"last_seq"`
		Consumers int    `json:"consumer_count"`
	} `json:"state"`
}

// skipped is why a stream is not in the backup, without that being a failure.
type skipped struct{ reason string }

func (e skipped) Error() string { return e.reason }

// failed is what went wrong with one stream, where the others can still be saved.
type failed struct{ reason error }

func (e failed) Error() string { return e.reason.Error() }

func (e failed) Unwrap() error { return e.reason }

func backup(c *call) error {
	// also where docker was given -t, which would change bytes on their way
	if term.IsTerminal(int(os.Stdout.Fd())) {
		return misused("backup writes an archive to stdout, which is a terminal: redirect it, and give docker no -t")
	}
	names, err := c.streamNames()
	if err != nil {
		return err
	}
	archive := tar.NewWriter(c.out)
	saved, failures := 0, 0
	for _, name := range names {
		err := c.backupStream(archive, name)
		var skip skipped
		var failure failed
		switch {
		case err == nil:
			saved++
		case errors.As(err, &skip):
			note("skipped: %s: %s", name, skip)
		case errors.As(err, &failure):
			note("failed: %s: %s", name, failure)
			failures++
		default:
			// the archive stays without its end, and restore will say so
			return fmt.Errorf("backup of stream %s: %w", name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	note("%d of %d streams saved", saved, len(names))
	if failures > 0 {
		return fmt.Errorf("%d streams are not in the archive, or not as they should be: see above", failures)
	}
	return nil
}

// streamNames gives all streams of the account, those behind buckets and object stores too.
func (c *call) streamNames() ([]string, error) {
	raw, err := c.list("STREAM.NAMES", "streams")
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, one := range raw {
		var name string
		if err := json.Unmarshal(one, &name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	// a stream that came between two pages is in both
	return slices.Compact(names), nil
}

func (c *call) backupStream(archive *tar.Writer, name string) error {
	start := time.Now()
	taken, err := c.snapshot(name)
	if err != nil {
		return err
	}
	defer taken.close()
	size, err := taken.data.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := taken.data.Seek(0, io.SeekStart); err != nil {
		return err
	}
	description, err := json.MarshalIndent(taken.description, "", "  ")
	if err != nil {
		return err
	}
	if err := writeMember(archive, name+"/"+metaMember, int64(len(description)), bytes.NewReader(description)); err != nil {
		return err
	}
	if err := writeMember(archive, name+"/"+dataMember, size, taken.data); err != nil {
		return err
	}
	state := taken.facts.State
	note("saved: %s: %s messages, %d consumers, %s in %s", name, printNumber(state.Messages), state.Consumers-len(taken.memoryConsumers),
		printSize(size), time.Since(start).Round(time.Millisecond))
	for _, consumer := range taken.memoryConsumers {
		note("skipped: %s: consumer %s has memory storage, which no snapshot holds", name, consumer)
	}
	// one with a flaw is better than none, but the backup is not a success
	return taken.flaw()
}

// newSpool makes a file without a name, so that nothing is left however this ends. A tar header needs the size of what
// follows, which is known only once a snapshot is over.
func newSpool() (*os.File, error) {
	spool, err := os.CreateTemp("", "nats-spool-")
	if err != nil {
		return nil, fmt.Errorf("no place to spool a stream, see TMPDIR: %w", err)
	}
	if err := os.Remove(spool.Name()); err != nil {
		spool.Close()
		return nil, err
	}
	return spool, nil
}

func writeMember(archive *tar.Writer, name string, size int64, content io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: time.Now().Truncate(time.Second)}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(archive, content)
	return err
}
