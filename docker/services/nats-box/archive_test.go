package main

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
)

type member struct {
	name, content string
	kind          byte
}

func makeTar(t *testing.T, members ...member) []byte {
	t.Helper()
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, m := range members {
		header := &tar.Header{Name: m.name, Size: int64(len(m.content)), Mode: 0o600, Typeflag: m.kind}
		if m.kind == tar.TypeSymlink {
			header.Linkname, header.Size = m.content, 0
		}
		if err := writer.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if header.Size > 0 {
			if _, err := io.WriteString(writer, m.content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func description(name string) string {
	return `{"config": {"name": "` + name + `", "storage": "file", "new": 1}, "state": {"messages": 2, "last_seq": 9}}`
}

func file(name, content string) member { return member{name, content, tar.TypeReg} }

func readAll(content []byte) (names []string, data string, err error) {
	archive := newArchive(bytes.NewReader(content))
	for {
		next, err := archive.next()
		if err == io.EOF {
			return names, data, nil
		}
		if err != nil {
			return names, data, err
		}
		var spool strings.Builder
		if _, err := archive.data(next.name, &spool); err != nil {
			return names, data, err
		}
		names, data = append(names, next.name), data+spool.String()
	}
}

func TestArchive(t *testing.T) {
	names, data, err := readAll(makeTar(t, file("A/backup.json", description("A")), file("A/stream.tar.s2", "first"),
		file("KV_b/backup.json", description("KV_b")), file("KV_b/stream.tar.s2", strings.Repeat("x", 512))))
	if err != nil || strings.Join(names, " ") != "A KV_b" || data != "first"+strings.Repeat("x", 512) {
		t.Errorf("%q %q %v", names, data, err)
	}
	if names, _, err := readAll(makeTar(t)); err != nil || len(names) != 0 {
		t.Errorf("an archive without streams: %v", err)
	}
}

func TestArchiveKeepsWhatItDoesNotKnow(t *testing.T) {
	next, err := newArchive(bytes.NewReader(makeTar(t, file("A/backup.json", description("A"))))).next()
	if err != nil || !strings.Contains(string(next.description.Config), `"new": 1`) || next.facts.State.Last != 9 {
		t.Errorf("%s %+v %v", next.description.Config, next.facts, err)
	}
}

func TestArchiveRefuses(t *testing.T) {
	meta, data := file("A/backup.json", description("A")), file("A/stream.tar.s2", "x")
	for part, members := range map[string][]member{
		`unexpected member "../A/backup.json"`:  {file("../A/backup.json", description("A"))},
		`unexpected member "/A/backup.json"`:    {file("/A/backup.json", description("A"))},
		`unexpected member "../backup.json"`:    {file("../backup.json", description(".."))},
		`unexpected member "A/b/backup.json"`:   {file("A/b/backup.json", description("A"))},
		`unexpected member "README"`:            {meta, data, file("README", "")},
		`unexpected member "A/more"`:            {meta, data, file("A/more", "")},
		`unexpected member "A/stream.tar.s2"`:   {meta, {"A/stream.tar.s2", "/etc/shadow", tar.TypeSymlink}},
		`unexpected member "A/"`:                {{"A/", "", tar.TypeDir}},
		"without backup.json before it":         {data, meta},
		"has no A/stream.tar.s2":                {meta},
		"where A/stream.tar.s2 is expected":     {meta, file("B/stream.tar.s2", "x")},
		`"A/backup.json" where A/stream.tar.s2`: {meta, meta},
		"has stream A twice":                    {meta, data, meta, data},
		`of stream "B"`:                         {file("A/backup.json", description("B")), data},
		"not what a backup writes":              {file("A/backup.json", "{"), data},
		"has no state":                          {file("A/backup.json", `{"config":{"name":"A"}}`), data},
	} {
		if _, _, err := readAll(makeTar(t, members...)); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", part, err)
		}
	}
}

// wherever an archive is cut off, it is not taken for a whole one
func TestArchiveCutOff(t *testing.T) {
	whole := makeTar(t, file("A/backup.json", description("A")), file("A/stream.tar.s2", strings.Repeat("x", 600)))
	for length := 0; length < len(whole); length += 128 {
		if _, _, err := readAll(whole[:length]); err == nil || !strings.Contains(err.Error(), "damaged") &&
			!strings.Contains(err.Error(), "has no") {
			t.Errorf("%d of %d bytes: %v", length, len(whole), err)
		}
	}
	if _, _, err := readAll([]byte(strings.Repeat("not a tar ", 200))); err == nil {
		t.Error("taken for an archive")
	}
}
