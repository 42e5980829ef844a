package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A snapshot is not a moment: the server reads block after block, then the state of the consumers, and goes on taking
// and dropping messages meanwhile. With nats-server 2.10 what comes of that can be wrong in two ways:
//
//   - where limits or acks drop a whole block, the reading loop steps over the next one. Another try helps;
//   - a consumer that got messages which came after their block was read is ahead of the stream once that is restored,
//     and will never get as many new ones. So no consumer may be beyond the last message from before the snapshot.
//     Another try helps where nobody is busy, and else gives the messages, to which the consumers before it belong.
//
// And while it lasts, the server removes no messages because of acks, nor later on: what is acked in these milliseconds
// stays in a work queue, though nobody gets it again (in an interest stream, until the server's next start). That is
// left as it is, for a backup should not delete from what it saves.

const (
	// what the server would choose too; below what any server takes as the size of a message
	chunkSize = 128 << 10

	// The server ends a snapshot whose chunks are not acked for 2 s; the client waits for much longer, as a message
	// block is read and compressed between two chunks.
	chunkLimit = time.Minute

	// a sign of life in long transfers
	progressInterval = 5 * time.Second

	// tries, with pauses that grow; together longer than the server needs to forget a client that died
	tries = 6
	pause = 200 * time.Millisecond
)

// taken is a snapshot.
type taken struct {
	data            *os.File
	description     metadata
	facts           facts
	memoryConsumers []string
	// messages are missing
	holes bool
	// a consumer that may be ahead of the stream
	ahead string
}

func (t *taken) flaw() error {
	switch {
	case t.holes:
		return failed{errors.New("the server dropped old messages while it was saved, and newer ones are missing")}
	case t.ahead != "":
		return failed{fmt.Errorf("consumer %s got messages that came while it was saved", t.ahead)}
	}
	return nil
}

// snapshot takes one that is good, or else gives the last try's.
func (c *call) snapshot(name string) (got *taken, err error) {
	var before *taken
	for try := 1; ; try++ {
		got, err = c.trySnapshot(name)
		if err == nil && !got.holes && got.ahead != "" && before != nil {
			err = got.takeConsumers(before)
		}
		before.close()
		if err == nil && got.flaw() == nil || try == tries {
			return got, err
		}
		var failure failed
		if err != nil && !errors.As(err, &failure) {
			return nil, err
		}
		before = got
		// consumers of just before are best, so there is no pause for those
		if err != nil || got.holes {
			time.Sleep(time.Duration(try) * pause)
		}
		if err == nil {
			err = got.flaw()
		}
		note("again: %s: %s", name, err)
	}
}

// takeConsumers replaces the state of the consumers with that from before.
func (t *taken) takeConsumers(before *taken) error {
	merged, err := merge(t.data, before.data)
	if err != nil {
		return err
	}
	t.data.Close()
	t.data, t.ahead = merged, ""
	return nil
}

func (t *taken) close() {
	if t != nil {
		t.data.Close()
	}
}

func (c *call) trySnapshot(name string) (*taken, error) {
	spool, err := newSpool()
	if err != nil {
		return nil, err
	}
	got := &taken{data: spool}
	if err := c.fill(got, name); err != nil {
		spool.Close()
		return nil, err
	}
	return got, nil
}

func (c *call) fill(got *taken, name string) error {
	if err := c.takeSnapshot(got, name); err != nil {
		return err
	}
	blocks, err := checkSnapshot(got.data, name)
	if err != nil {
		return failed{fmt.Errorf("the server's snapshot is not whole: %w", err)}
	}
	err = c.compare(got, blocks)
	// removed meanwhile, so this was the last chance
	if isAPIError(err, streamNotFound) {
		return nil
	}
	return err
}

// compare looks whether the stream has messages that its snapshot lacks, and at how far its consumers are.
func (c *call) compare(got *taken, blocks []span) error {
	name, began := got.facts.Config.Name, got.facts.State
	if began.Messages > 0 {
		// most of what is in no block was deleted long ago
		for _, missing := range uncovered(span{began.First, began.Last}, blocks) {
			hole, err := c.holdsAny(name, missing)
			if err != nil {
				return err
			}
			got.holes = got.holes || hole
		}
	}
	states, err := c.consumerStates(name)
	if err != nil {
		return err
	}
	for _, state := range states {
		if state.Config.Memory {
			got.memoryConsumers = append(got.memoryConsumers, state.Name)
		} else if state.Delivered.Stream > began.Last {
			got.ahead = state.Name
		}
	}
	return nil
}

func (c *call) holdsAny(name string, wanted span) (bool, error) {
	stored, err := c.nextMessage(name, wanted.first)
	return stored != nil && stored.Message.Sequence <= wanted.last, err
}

// takeSnapshot has the server send a stream into the spool.
func (c *call) takeSnapshot(got *taken, name string) error {
	inbox, err := c.nc.SubscribeSync(c.nc.NewRespInbox())
	if err != nil {
		return err
	}
	defer inbox.Unsubscribe()
	// the server has at most 8 MiB under way, whatever their number: what is beyond is dropped
	if err := inbox.SetPendingLimits(-1, 64<<20); err != nil {
		return err
	}
	question := map[string]any{"deliver_subject": inbox.Subject, "no_consumers": false, "chunk_size": chunkSize}
	raw, err := c.api("STREAM.SNAPSHOT."+name, question, &got.description)
	if err != nil {
		return c.whyNot(name, err)
	}
	if err := json.Unmarshal(raw, &got.facts); err != nil {
		return err
	}
	return receive(inbox, name, got.data)
}

// whyNot tells failures from streams that cannot be in a backup.
func (c *call) whyNot(name string, refusal error) error {
	if isAPIError(refusal, streamNotFound) {
		return skipped{"removed since the backup began"}
	}
	var answer *apiError
	if !errors.As(refusal, &answer) {
		return refusal
	}
	var info facts
	if _, err := c.api("STREAM.INFO."+name, nil, &info); err == nil && info.Config.Storage == "memory" {
		return skipped{fmt.Sprintf("memory storage, of which the server makes no snapshots: %s", refusal)}
	}
	return failed{refusal}
}

// receive takes chunks until the empty one, and acks each, which lets the server send more.
func receive(inbox *nats.Subscription, name string, spool io.Writer) error {
	total := 0
	shown := time.Now()
	for {
		chunk, err := inbox.NextMsg(chunkLimit)
		if errors.Is(err, nats.ErrTimeout) {
			return fmt.Errorf("the server sent nothing for %s, after %s", chunkLimit, printSize(total))
		}
		if err != nil {
			return err
		}
		if len(chunk.Data) == 0 {
			return snapshotStatus(chunk.Header)
		}
		if _, err := spool.Write(chunk.Data); err != nil {
			return fmt.Errorf("cannot spool the stream, see TMPDIR: %w", err)
		}
		total += len(chunk.Data)
		if chunk.Reply != "" {
			if err := chunk.Respond(nil); err != nil {
				return err
			}
		}
		if time.Since(shown) > progressInterval {
			shown = time.Now()
			note("%s: %s so far", name, printSize(total))
		}
	}
}

// snapshotStatus reads the last message. The client library makes Status and Description of the header's first line.
func snapshotStatus(header nats.Header) error {
	status := header.Get("Status")
	if status == "204" {
		return nil
	}
	return failed{fmt.Errorf("the server broke off: %s", strings.TrimSpace("status "+status+" "+header.Get("Description")))}
}

type consumerState struct {
	Name   string `json:"name"`
	Config struct {
		// a snapshot leaves these out without a word
		Memory bool `json:"mem_storage"`
	} `json:"config"`
	Delivered struct {
		Stream uint64 `json:"stream_seq"`
	} `json:"delivered"`
}

func (c *call) consumerStates(stream string) ([]consumerState, error) {
	raw, err := c.list("CONSUMER.LIST."+stream, "consumers")
	if err != nil {
		return nil, err
	}
	states := make([]consumerState, len(raw))
	for i, one := range raw {
		if err := json.Unmarshal(one, &states[i]); err != nil {
			return nil, err
		}
	}
	return states, nil
}
