// Walks a published ledger with golang.org/x/mod alone, which knows nothing of us, and refuses it with a reason.
//
//	walk DIR VKEY [CHECKPOINT...]
//
// From every entry it computes the whole tree anew and holds each tile, of every level, and the signed root against it;
// it authenticates every leaf through the tiles, proves some entries' inclusion, and the consistency of the checkpoints
// that somebody kept, in their order, with each other and with the one in force.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height, width = 8, 256

type log struct {
	dir  string
	tree tlog.Tree
	read int
}

// path turns x/mod's tile/8/0/001.p/5 into the tile/0/001.p/5 of C2SP.
func path(tile tlog.Tile) string {
	return "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
}

func (l *log) Height() int                         { return height }
func (l *log) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func smaller(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func (l *log) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		file, err := os.ReadFile(filepath.Join(l.dir, path(tile)))
		if err != nil {
			return nil, err
		}
		if len(file) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has %d bytes", path(tile), len(file))
		}
		data[i] = file
		l.read++
	}
	return data, nil
}

// open verifies a signed checkpoint.
func open(file, origin string, key note.Verifiers) (tlog.Tree, error) {
	var tree tlog.Tree
	signed, err := os.ReadFile(file)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(signed, key)
	if err != nil {
		return tree, fmt.Errorf("%s: %w", filepath.Base(file), err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != origin || lines[3] != "" {
		return tree, errors.New("the checkpoint is not three lines of this origin")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil || tree.N < 0 {
		return tree, errors.New("the checkpoint has no size")
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || copy(tree.Hash[:], root) != tlog.HashSize || len(root) != tlog.HashSize {
		return tree, errors.New("the checkpoint has no root")
	}
	return tree, nil
}

// hashes keeps the hashes of the tree that the entries make, in x/mod's order.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(h)) {
			return nil, fmt.Errorf("no hash %d", index)
		}
		found[i] = h[index]
	}
	return found, nil
}

// entries makes the tree from every entry of every bundle.
func (l *log) entries() (hashes, error) {
	var made hashes
	for bundle := int64(0); bundle*width < l.tree.N; bundle++ {
		count := smaller(width, l.tree.N-bundle*width)
		name := strings.Replace(path(tlog.Tile{H: height, L: 0, N: bundle, W: int(count)}), "tile/0/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(l.dir, name))
		if err != nil {
			return nil, err
		}
		for i := int64(0); i < count; i++ {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("%s ends inside entry %d", name, i)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			more, err := tlog.StoredHashesForRecordHash(bundle*width+i, tlog.RecordHash(data[2:end]), made)
			if err != nil {
				return nil, err
			}
			made, data = append(made, more...), data[end:]
		}
		if len(data) != 0 {
			return nil, fmt.Errorf("%s goes on after its last entry", name)
		}
	}
	return made, nil
}

// tiles holds every tile against the tree that the entries make.
func (l *log) tiles(made hashes) (int, error) {
	count := 0
	for _, tile := range tlog.NewTiles(height, 0, l.tree.N) {
		// Of a partial tile only the widest form need be there.
		if end := tile.N*width + int64(tile.W); tile.W < width && end < l.tree.N>>(height*tile.L) {
			continue
		}
		count++
		wanted, err := tlog.ReadTileData(tile, made)
		if err != nil {
			return 0, err
		}
		data, err := l.ReadTiles([]tlog.Tile{tile})
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(data[0], wanted) {
			return 0, fmt.Errorf("%s does not follow from the entries", path(tile))
		}
	}
	return count, nil
}

func (l *log) leaves(reader tlog.HashReader, made hashes) error {
	for first := int64(0); first < l.tree.N; first += width {
		var indexes []int64
		for leaf := first; leaf < smaller(first+width, l.tree.N); leaf++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, leaf))
		}
		found, err := reader.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i, index := range indexes {
			if found[i] != made[index] {
				return fmt.Errorf("leaf %d is another in its tile", first+int64(i))
			}
		}
	}
	return nil
}

func consistent(reader tlog.HashReader, old, now tlog.Tree) error {
	if old.N > now.N {
		return fmt.Errorf("the log shrank from %d to %d leaves", old.N, now.N)
	}
	if old.N == 0 {
		return nil
	}
	proof, err := tlog.ProveTree(now.N, old.N, reader)
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(proof, now.N, now.Hash, old.N, old.Hash); err != nil {
		return fmt.Errorf("the checkpoints of %d and %d leaves: %w", old.N, now.N, err)
	}
	return nil
}

func walk(dir, vkey string, files []string) error {
	key, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	keys := note.VerifierList(key)
	tree, err := open(filepath.Join(dir, "checkpoint"), key.Name(), keys)
	if err != nil {
		return err
	}
	l := &log{dir: dir, tree: tree}
	made, err := l.entries()
	if err != nil {
		return err
	}
	tiles, err := l.tiles(made)
	if err != nil {
		return err
	}
	if root, err := tlog.TreeHash(tree.N, made); err != nil || root != tree.Hash {
		return errors.New("the root over the entries is not the one that was signed")
	}
	// From here on x/mod trusts the signed root and nothing else.
	reader := tlog.TileHashReader(tree, l)
	if err := l.leaves(reader, made); err != nil {
		return err
	}
	proven := 0
	for leaf := int64(0); leaf < tree.N; leaf += 1 + tree.N/97 {
		proof, err := tlog.ProveRecord(tree.N, leaf, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, leaf, made[tlog.StoredHashIndex(0, leaf)]); err != nil {
			return fmt.Errorf("entry %d: %w", leaf, err)
		}
		proven++
	}
	var last tlog.Tree
	for _, file := range files {
		kept, err := open(file, key.Name(), keys)
		if err != nil {
			return err
		}
		for _, pair := range [][2]tlog.Tree{{last, kept}, {kept, tree}} {
			if err := consistent(reader, pair[0], pair[1]); err != nil {
				return err
			}
		}
		last = kept
	}
	fmt.Printf("walked %s: %d entries, %d tiles, %d proofs of inclusion, %d kept checkpoints\n",
		key.Name(), tree.N, tiles, proven, len(files))
	return nil
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: walk DIR VKEY [CHECKPOINT...]")
		os.Exit(2)
	}
	if err := walk(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
}
