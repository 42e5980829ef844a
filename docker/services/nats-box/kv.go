package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// A bucket is a stream of this name with settings that all clients agree on.
const bucketPrefix = "KV_"

func kvList(c *call) error {
	streams, err := c.list("STREAM.LIST", "streams")
	if err != nil {
		return err
	}
	buckets := []json.RawMessage{}
	for _, raw := range streams {
		var info nats.StreamInfo
		if err := json.Unmarshal(raw, &info); err != nil {
			return err
		}
		if strings.HasPrefix(info.Config.Name, bucketPrefix) {
			buckets = append(buckets, raw)
		}
	}
	if c.has("json") {
		return c.printJSON(buckets)
	}
	return c.printStreams(buckets, bucketPrefix)
}

// keyValue connects and gives JetStream as the client library sees it, which knows what a bucket is.
func (c *call) keyValue() (nats.JetStreamContext, error) {
	if err := checkNames("bucket", c.args[0]); err != nil {
		return nil, err
	}
	timeout, err := c.timeout()
	if err != nil {
		return nil, err
	}
	if err := c.connect(); err != nil {
		return nil, err
	}
	return c.nc.JetStream(nats.MaxWait(timeout))
}

func (c *call) bucket() (nats.KeyValue, error) {
	js, err := c.keyValue()
	if err != nil {
		return nil, err
	}
	bucket, err := js.KeyValue(c.args[0])
	if errors.Is(err, nats.ErrBucketNotFound) {
		return nil, fmt.Errorf("there is no bucket %s", c.args[0])
	}
	return bucket, err
}

func kvAdd(c *call) error {
	js, err := c.keyValue()
	if err != nil {
		return err
	}
	if _, err := js.CreateKeyValue(&nats.KeyValueConfig{Bucket: c.args[0]}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "Added bucket %s\n", c.args[0])
	return err
}

func kvPut(c *call) error {
	value, err := c.body(2)
	if err != nil {
		return err
	}
	bucket, err := c.bucket()
	if err != nil {
		return err
	}
	if _, err := bucket.Put(c.args[1], []byte(value)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, value)
	return err
}

func kvGet(c *call) error {
	bucket, err := c.bucket()
	if err != nil {
		return err
	}
	entry, err := bucket.Get(c.args[1])
	if errors.Is(err, nats.ErrKeyNotFound) {
		return fmt.Errorf("bucket %s has no key %s", c.args[0], c.args[1])
	}
	if err != nil {
		return err
	}
	// raw is the bytes that were put and no more, for a value may be a file
	if c.has("raw") {
		_, err = c.out.Write(entry.Value())
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s > %s revision: %d created @ %s\n\n%s\n", entry.Bucket(), entry.Key(), entry.Revision(),
		printTime(entry.Created()), entry.Value())
	return err
}

func kvDelete(c *call) error {
	bucket, err := c.bucket()
	if err != nil {
		return err
	}
	// the server takes a delete of what never was; a mistyped key should not look like a success
	if _, err := bucket.Get(c.args[1]); errors.Is(err, nats.ErrKeyNotFound) {
		return fmt.Errorf("bucket %s has no key %s", c.args[0], c.args[1])
	}
	if err := bucket.Delete(c.args[1]); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "Deleted key %s of bucket %s\n", c.args[1], c.args[0])
	return err
}

func kvKeys(c *call) error {
	bucket, err := c.bucket()
	if err != nil {
		return err
	}
	keys, err := bucket.Keys()
	if err != nil && !errors.Is(err, nats.ErrNoKeysFound) {
		return err
	}
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Fprintln(c.out, key)
	}
	return nil
}

func kvRemove(c *call) error {
	js, err := c.keyValue()
	if err != nil {
		return err
	}
	err = js.DeleteKeyValue(c.args[0])
	if errors.Is(err, nats.ErrBucketNotFound) || errors.Is(err, nats.ErrStreamNotFound) {
		return fmt.Errorf("there is no bucket %s", c.args[0])
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "Removed bucket %s\n", c.args[0])
	return err
}
