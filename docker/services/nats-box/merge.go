package main

import (
	"archive/tar"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/s2"
)

// Of the files in a snapshot, these are the consumers'; they are last.
const consumerFiles = "obs/"

// merge makes a snapshot of the messages of one and the consumers of another one, taken before: so no consumer is ahead
// of the stream. Some may be behind, and get again what they had acked between the two.
func merge(messages, consumers *os.File) (*os.File, error) {
	merged, err := newSpool()
	if err != nil {
		return nil, err
	}
	compressed := s2.NewWriter(merged)
	archive := tar.NewWriter(compressed)
	err = copyMembers(archive, messages, func(name string) bool { return !strings.HasPrefix(name, consumerFiles) })
	if err == nil {
		err = copyMembers(archive, consumers, func(name string) bool { return strings.HasPrefix(name, consumerFiles) })
	}
	if err == nil {
		err = archive.Close()
	}
	if closed := compressed.Close(); err == nil {
		err = closed
	}
	if err != nil {
		merged.Close()
		return nil, err
	}
	return merged, nil
}

func copyMembers(to *tar.Writer, snapshot *os.File, wanted func(name string) bool) error {
	if _, err := snapshot.Seek(0, io.SeekStart); err != nil {
		return err
	}
	members := tar.NewReader(s2.NewReader(snapshot))
	for {
		header, err := members.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !wanted(header.Name) {
			continue
		}
		if err := to.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(to, members); err != nil {
			return err
		}
	}
}
