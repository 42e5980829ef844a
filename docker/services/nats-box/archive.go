package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The archive is pairs of members, NAME/backup.json and then NAME/stream.tar.s2. Anything else is refused, as the
// archive may come from anywhere.

const (
	metaMember = "backup.json"
	dataMember = "stream.tar.s2"

	// the state may list every deleted message; the server takes less in a request
	largestMeta = 16 << 20
)

// archiveReader gives one stream after the other.
type archiveReader struct {
	members *tarReader
	seen    map[string]bool
}

func newArchive(source io.Reader) *archiveReader {
	return &archiveReader{members: newTar(source), seen: map[string]bool{}}
}

// stream is the first member of a pair; the second one is read by archiveReader.data.
type stream struct {
	name        string
	description metadata
	facts       facts
}

// next gives io.EOF at the end of an archive that is whole.
func (a *archiveReader) next() (s stream, err error) {
	header, err := a.members.Next()
	if err == io.EOF {
		if err := a.members.complete(); err != nil {
			return s, fmt.Errorf("the archive is %w", err)
		}
		return s, io.EOF
	}
	if err != nil {
		return s, fmt.Errorf("the archive is damaged: %w", err)
	}
	name, file, err := memberName(header)
	if err != nil {
		return s, err
	}
	if file != metaMember {
		return s, fmt.Errorf("the archive has %q without %s before it", header.Name, metaMember)
	}
	if a.seen[name] {
		return s, fmt.Errorf("the archive has stream %s twice", name)
	}
	a.seen[name] = true
	s.name = name
	if header.Size > largestMeta {
		return s, fmt.Errorf("%q in the archive is too large", header.Name)
	}
	content, err := io.ReadAll(a.members)
	if err != nil {
		return s, fmt.Errorf("the archive is damaged: %w", err)
	}
	if err := errors.Join(json.Unmarshal(content, &s.description), json.Unmarshal(content, &s.facts)); err != nil {
		return s, fmt.Errorf("%q in the archive is not what a backup writes: %w", header.Name, err)
	}
	if s.facts.Config.Name != name {
		return s, fmt.Errorf("%q in the archive is of stream %q", header.Name, s.facts.Config.Name)
	}
	if len(s.description.State) == 0 {
		return s, fmt.Errorf("%q in the archive has no state", header.Name)
	}
	return s, nil
}

// data copies the snapshot of the stream that next gave.
func (a *archiveReader) data(name string, to io.Writer) (int64, error) {
	header, err := a.members.Next()
	if err == io.EOF {
		return 0, fmt.Errorf("the archive has no %s/%s", name, dataMember)
	}
	if err != nil {
		return 0, fmt.Errorf("the archive is damaged: %w", err)
	}
	owner, file, err := memberName(header)
	if err != nil {
		return 0, err
	}
	if owner != name || file != dataMember {
		return 0, fmt.Errorf("the archive has %q where %s/%s is expected", header.Name, name, dataMember)
	}
	size, err := io.Copy(to, a.members)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return size, fmt.Errorf("the archive is damaged: ends within %s", header.Name)
	}
	return size, err
}

func memberName(header *tar.Header) (stream, file string, err error) {
	stream, file, found := strings.Cut(header.Name, "/")
	if header.Typeflag != tar.TypeReg || !found || !validName(stream) || file != metaMember && file != dataMember {
		return "", "", fmt.Errorf("the archive has an unexpected member %q", header.Name)
	}
	return stream, file, nil
}
