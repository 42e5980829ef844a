package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/term"
)

// After the last chunk the server unpacks all of it and reads it through.
const unpackLimit = 30 * time.Minute

func restore(c *call) error {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return misused("restore reads an archive from stdin, which is a terminal: redirect it, and give docker no -t")
	}
	if err := c.connect(); err != nil {
		return err
	}
	archive := newArchive(c.in)
	restored := 0
	for {
		next, err := archive.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = c.restoreStream(archive, next)
		}
		if err != nil {
			return fmt.Errorf("%w (%d streams restored before)", err, restored)
		}
		restored++
	}
	note("%d streams restored", restored)
	return nil
}

func (c *call) restoreStream(archive *archiveReader, next stream) error {
	start := time.Now()
	exists, err := c.streamExists(next.name)
	if err != nil {
		return err
	}
	if exists && !c.has("replace") {
		return fmt.Errorf("stream %s exists: --replace deletes it first", next.name)
	}
	spool, err := newSpool()
	if err != nil {
		return err
	}
	defer spool.Close()
	size, err := archive.data(next.name, spool)
	if err != nil {
		return err
	}
	if _, err := checkSnapshot(spool, next.name); err != nil {
		return fmt.Errorf("%s/%s in the archive is bad: %w", next.name, dataMember, err)
	}
	if err := c.checkSubjects(next); err != nil {
		return err
	}
	if exists {
		if _, err := c.api("STREAM.DELETE."+next.name, nil, nil); err != nil && !isAPIError(err, streamNotFound) {
			return fmt.Errorf("cannot delete stream %s: %w", next.name, err)
		}
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	now, err := c.send(next, spool)
	if err != nil {
		if exists {
			return fmt.Errorf("stream %s is deleted and could not be restored: %w", next.name, err)
		}
		return fmt.Errorf("restore of stream %s: %w", next.name, err)
	}
	note("restored: %s: %s messages, %d consumers, %s in %s", next.name, printNumber(now.State.Messages), now.State.Consumers,
		printSize(size), time.Since(start).Round(time.Millisecond))
	if now.State.Messages < next.facts.State.Messages {
		note("%s: %s messages were saved, %s are left: its limits, such as the maximum age, hold at once", next.name,
			printNumber(next.facts.State.Messages), printNumber(now.State.Messages))
	}
	return c.warnOfConsumers(next.name, now.State.Last)
}

// warnOfConsumers names those that are ahead of the stream, as a backup made while all was busy may have them: the
// server gives numbers again that such a consumer has seen, and does not send it those messages.
func (c *call) warnOfConsumers(name string, last uint64) error {
	states, err := c.consumerStates(name)
	for _, state := range states {
		if state.Delivered.Stream > last {
			note("warning: %s: consumer %s is %d messages ahead of the stream, and will not get as many new ones: make it anew", name,
				state.Name, state.Delivered.Stream-last)
		}
	}
	return err
}

func (c *call) streamExists(name string) (bool, error) {
	_, err := c.api("STREAM.INFO."+name, nil, nil)
	if isAPIError(err, streamNotFound) {
		return false, nil
	}
	return err == nil, err
}

// checkSubjects looks for other streams on the same subjects, which the server does only when all else is done.
func (c *call) checkSubjects(next stream) error {
	for _, subject := range next.facts.Config.Subjects {
		var answer struct {
			Streams []string `json:"streams"`
		}
		if _, err := c.api("STREAM.NAMES", map[string]string{"subject": subject}, &answer); err != nil {
			return err
		}
		for _, other := range answer.Streams {
			if other != next.name {
				return fmt.Errorf("stream %s cannot be restored: %s has the subject %q too", next.name, other, subject)
			}
		}
	}
	return nil
}

// send gives the server a snapshot, and returns what it made of it.
func (c *call) send(next stream, snapshot io.Reader) (now facts, err error) {
	var answer struct {
		Subject string `json:"deliver_subject"`
	}
	if _, err := c.api("STREAM.RESTORE."+next.name, next.description, &answer); err != nil {
		return now, err
	}
	if answer.Subject == "" {
		return now, errors.New("the server does not tell where to send it")
	}
	chunk := make([]byte, min(chunkSize, int(c.nc.MaxPayload())))
	total := 0
	shown := time.Now()
	for {
		n, err := io.ReadFull(snapshot, chunk)
		if n > 0 {
			if err := c.sendChunk(answer.Subject, chunk[:n]); err != nil {
				return now, fmt.Errorf("after %s: %w", printSize(total), err)
			}
			total += n
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return now, err
		}
		if time.Since(shown) > progressInterval {
			shown = time.Now()
			note("%s: %s so far", next.name, printSize(total))
		}
	}
	last, err := c.nc.Request(answer.Subject, nil, unpackLimit)
	if err != nil {
		return now, fmt.Errorf("the server does not confirm it: %w", err)
	}
	return now, decode(last.Data, &now)
}

// sendChunk waits until the server has written it; the answer is empty where all is well.
func (c *call) sendChunk(subject string, chunk []byte) error {
	answer, err := c.nc.Request(subject, chunk, chunkLimit)
	if errors.Is(err, nats.ErrNoResponders) {
		return errors.New("the server gave up")
	}
	if err != nil {
		return err
	}
	if len(answer.Data) == 0 {
		return nil
	}
	if json.Valid(answer.Data) {
		if err := decode(answer.Data, nil); err != nil {
			return err
		}
	}
	return fmt.Errorf("the server answers: %s", answer.Data)
}
