package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unpacked is what is in a tar: contents by names, in order.
func unpacked(t *testing.T, data []byte) (names []string, of map[string][]byte) {
	t.Helper()
	of = map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names, of
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 1234567890 {
			t.Errorf("%s is of %d:%d, %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		names = append(names, h.Name)
		of[h.Name] = content
	}
}

// TestImage: the same sources give the same bytes, whatever the umask and the place; each blob is what its digest
// says, from the index to the layer; and the layer has what -tree writes.
func TestImage(t *testing.T) {
	dir := t.TempDir()
	t.Chdir("../..")
	t.Setenv("SOURCE_DATE_EPOCH", "1234567890")
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/true\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var images [2][]byte
	for i := range images {
		file := filepath.Join(dir, "made", string(rune('a'+i)), "image.tar")
		if err := run("arm64", program, "", "1.2.3", file); err != nil {
			t.Fatal(err)
		}
		images[i], _ = os.ReadFile(file)
	}
	if len(images[0]) == 0 || !bytes.Equal(images[0], images[1]) {
		t.Fatal("made twice it is not the same")
	}
	_, of := unpacked(t, images[0])
	type descriptor struct {
		MediaType, Digest string
		Size              int
		Platform          struct{ Architecture, OS string }
		Annotations       map[string]string
	}
	blob := func(d descriptor) []byte {
		t.Helper()
		content := of["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		sum := sha256.Sum256(content)
		if len(content) != d.Size || d.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Fatalf("%s has %d bytes, and is none of that digest", d.Digest, len(content))
		}
		return content
	}
	read := func(data []byte, into any) {
		t.Helper()
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
	}
	var index struct{ Manifests []descriptor }
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	var config struct {
		Architecture, OS string
		Config           struct{ Entrypoint, Cmd []string }
		Rootfs           struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	read(of["index.json"], &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Platform.Architecture != "arm64" || index.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "localhost/bailiff:1.2.3" {
		t.Fatalf("%s", of["index.json"])
	}
	read(blob(index.Manifests[0]), &manifest)
	read(blob(manifest.Config), &config)
	if config.Architecture != "arm64" || config.OS != "linux" || !slices.Equal(config.Config.Entrypoint, []string{"/usr/sbin/bailiff"}) || len(manifest.Layers) != 1 {
		t.Fatalf("%+v %+v", config, manifest)
	}
	z, err := gzip.NewReader(bytes.NewReader(blob(manifest.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(plain); !slices.Equal(config.Rootfs.DiffIDs, []string{"sha256:" + hex.EncodeToString(sum[:])}) {
		t.Errorf("%v is not the layer's", config.Rootfs.DiffIDs)
	}
	var old []struct {
		Config           string
		RepoTags, Layers []string
	}
	read(of["manifest.json"], &old)
	if len(old) != 1 || of[old[0].Config] == nil || len(old[0].Layers) != 1 || of[old[0].Layers[0]] == nil || old[0].RepoTags[0] != "localhost/bailiff:1.2.3" {
		t.Errorf("%s", of["manifest.json"])
	}

	names, layer := unpacked(t, plain)
	if string(layer["usr/sbin/bailiff"]) != "#!/bin/true\n" || len(layer["usr/share/doc/bailiff/THIRD_PARTY"]) < 10000 {
		t.Error("the program or the licences are not in it")
	}
	tree := filepath.Join(dir, "tree")
	if err := run("arm64", program, tree, "1.2.3", ""); err != nil {
		t.Fatal(err)
	}
	var planted []string
	err = filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, tree+"/")
		if err != nil || path == tree {
			return err
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if e.IsDir() {
			name += "/"
		} else if content, err := os.ReadFile(path); err != nil || !bytes.Equal(content, layer[name]) {
			t.Errorf("%s is another file: %v", name, err)
		}
		if name == "tmp/" && fi.Mode()&(fs.ModeSticky|0o777) != fs.ModeSticky|0o777 || name == "var/lib/bailiff/" && fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v", name, fi.Mode())
		}
		planted = append(planted, name)
		return nil
	})
	slices.Sort(planted)
	slices.Sort(names)
	if err != nil || !slices.Equal(planted, names) {
		t.Errorf("%v: -tree writes %v, and the image has %v", err, planted, names)
	}
}
