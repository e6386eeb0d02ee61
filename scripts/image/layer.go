package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// file is a file or a directory of the image's, of root's.
type file struct {
	name string // a directory's ends with a slash
	mode int64
	from string // a file here; empty: text is its content
	text string
}

// files are what is in the image, each directory before what is in it.
func files(binary string) []file {
	return []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/bailiff/", mode: 0o755},
		{name: "etc/group", mode: 0o644, text: "root:x:0:\nnogroup:x:65534:\n"},
		{name: "etc/passwd", mode: 0o644, text: "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"},
		{name: "run/", mode: 0o755},
		{name: "run/bailiff/", mode: 0o755},
		{name: "tmp/", mode: 0o1777},
		{name: "usr/", mode: 0o755},
		{name: "usr/sbin/", mode: 0o755},
		{name: "usr/sbin/bailiff", mode: 0o755, from: binary},
		{name: "usr/share/", mode: 0o755},
		{name: "usr/share/doc/", mode: 0o755},
		{name: "usr/share/doc/bailiff/", mode: 0o755},
		{name: "usr/share/doc/bailiff/LICENSE", mode: 0o644, from: "LICENSE"},
		{name: "usr/share/doc/bailiff/THIRD_PARTY", mode: 0o644, from: "THIRD_PARTY"},
		{name: "var/", mode: 0o755},
		{name: "var/lib/", mode: 0o755},
		{name: "var/lib/bailiff/", mode: 0o700},
		{name: "var/log/", mode: 0o755},
	}
}

func (f file) dir() bool { return strings.HasSuffix(f.name, "/") }

func (f file) content() ([]byte, error) {
	if f.from == "" {
		return []byte(f.text), nil
	}
	return os.ReadFile(f.from)
}

// plant writes files into a directory.
func plant(files []file, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		to := filepath.Join(dir, f.name)
		if f.dir() {
			if err := os.Mkdir(to, 0o700); err != nil {
				return err
			}
		} else {
			content, err := f.content()
			if err != nil {
				return err
			}
			if err := os.WriteFile(to, content, 0o600); err != nil {
				return err
			}
		}
		mode := os.FileMode(f.mode & 0o777)
		if f.mode&0o1000 != 0 {
			mode |= os.ModeSticky
		}
		if err := os.Chmod(to, mode); err != nil { // whatever the umask is
			return err
		}
	}
	return nil
}

// layer is a tar, packed.
type layer struct {
	packed   []byte
	unpacked string // the digest of the tar
}

func newLayer(files []file, made time.Time) (*layer, error) {
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, f := range files {
		content, err := f.content()
		if err != nil {
			return nil, err
		}
		if err := add(w, f.name, f.mode, content, made); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(plain.Bytes()); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return &layer{packed.Bytes(), digest(plain.Bytes())}, nil
}

// add adds a file or a directory to a tar.
func add(w *tar.Writer, name string, mode int64, content []byte, made time.Time) error {
	h := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), ModTime: made, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
	if name[len(name)-1] == '/' {
		h.Typeflag = tar.TypeDir
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// object is a JSON object; its keys are written in order.
type object = map[string]any

// archive is an image of one layer.
func archive(l *layer, arch, release string, made time.Time) ([]byte, error) {
	const oci = "application/vnd.oci.image."
	when := made.Format(time.RFC3339)
	a := &blobs{made: made}
	a.w = tar.NewWriter(&a.out)
	packed := a.blob(l.packed)
	config := a.blob(encode(object{
		"created": when, "architecture": arch, "os": "linux",
		"config": object{
			"Entrypoint": []string{"/usr/sbin/bailiff"}, "Cmd": []string{"run"},
			"Env": []string{"PATH=/usr/sbin"}, "WorkingDir": "/", "StopSignal": "SIGTERM",
			"Labels": object{
				"org.opencontainers.image.title": "bailiff", "org.opencontainers.image.version": release, "org.opencontainers.image.licenses": "Apache-2.0",
				"org.opencontainers.image.description": "Watches logs, bans what attacks.",
			},
		},
		"rootfs":  object{"type": "layers", "diff_ids": []string{l.unpacked}},
		"history": []object{{"created": when, "created_by": "bailiff: scripts/image"}},
	}))
	manifest := a.blob(encode(object{
		"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
		"config": config.as(oci + "config.v1+json"), "layers": []object{packed.as(oci + "layer.v1.tar+gzip")},
	}))
	index := manifest.as(oci + "manifest.v1+json")
	index["platform"] = object{"architecture": arch, "os": "linux"}
	index["annotations"] = object{"org.opencontainers.image.ref.name": name + ":" + release, "io.containerd.image.name": name + ":" + release}
	a.add("oci-layout", encode(object{"imageLayoutVersion": "1.0.0"}))
	a.add("index.json", encode(object{"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": []object{index}}))
	a.add("manifest.json", encode([]object{{"Config": config.path(), "RepoTags": []string{name + ":" + release}, "Layers": []string{packed.path()}}}))
	if a.err == nil {
		a.err = a.w.Close()
	}
	return a.out.Bytes(), a.err
}

// encode is for what can be encoded: texts, numbers, lists, objects.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// blobs is an archive that is being written.
type blobs struct {
	out  bytes.Buffer
	w    *tar.Writer
	made time.Time
	err  error
	dirs bool
}

func (a *blobs) add(name string, content []byte) {
	if a.err == nil {
		a.err = add(a.w, name, map[bool]int64{true: 0o755, false: 0o644}[name[len(name)-1] == '/'], content, a.made)
	}
}

// stored is a blob of the archive's.
type stored struct {
	digest string
	size   int
}

// blob adds a content under its digest.
func (a *blobs) blob(content []byte) stored {
	if !a.dirs {
		a.dirs = true
		a.add("blobs/", nil)
		a.add("blobs/sha256/", nil)
	}
	s := stored{digest(content), len(content)}
	a.add(s.path(), content)
	return s
}

func (s stored) path() string { return "blobs/sha256/" + s.digest[len("sha256:"):] }

// as is a descriptor of it.
func (s stored) as(mediaType string) object {
	return object{"mediaType": mediaType, "digest": s.digest, "size": s.size}
}
