package objstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/ostree"
)

func (d *direct) publish(ctx context.Context, refs map[string]string, lasting bool) (err error) {
	if d.lost != nil {
		return d.lost
	}
	d.epoch.Lock()
	d.mu.Lock()
	batch := d.waiting
	d.waiting = nil
	d.mu.Unlock()
	d.epoch.Unlock()
	left := batch
	defer func() {
		if err != nil && len(left) < len(batch) {
			d.inPlace.Store(true) // whoever publishes next must sync those that were moved
		}
		d.mu.Lock() // and move the others, which other layers may have found
		d.waiting = append(d.waiting, left...)
		d.mu.Unlock()
	}()
	if inPlace := d.inPlace.Swap(false); (inPlace || len(batch) > 0) && !d.cfg.noSync {
		if err := d.syncAll(); err != nil {
			return err
		}
	}
	// Commits go last, when what they need is in place: fsck reads every commit that it finds, whether a ref names it or not.
	commits := len(batch)
	for n := 0; n < commits; {
		if batch[n].Type == ostree.ObjectCommit {
			commits--
			batch[n], batch[commits] = batch[commits], batch[n]
		} else {
			n++
		}
	}
	objects, last := batch[:commits], batch[commits:]
	objects, err = d.move(objects, lasting)
	if err == nil && lasting { // else commits wait on: without a sync between them and what they need, a crash could leave a commit alone
		last, err = d.move(last, lasting)
	}
	if left = slices.Concat(objects, last); err != nil {
		return err
	}
	for name, sum := range refs {
		if now, err := d.repo.ResolveRevLocal(ctx, name); err == nil && now == sum {
			continue // to write it again would cost a sync
		}
		if err := d.repo.SetRefImmediate(ctx, "", name, sum); err != nil {
			return fmt.Errorf("set ref %s: %w", name, err)
		}
	}
	return nil
}

// movers is how many goroutines give objects their names, each in directories of its own.
const movers = 2

// move brings waiting objects into the repository, and makes that durable if it is to be lasting. With an error it returns those that
// wait on.
func (d *direct) move(batch []waitingObject, lasting bool) (left []waitingObject, err error) {
	if len(batch) == 0 {
		return nil, nil
	}
	slices.SortFunc(batch, func(a, b waitingObject) int { return a.Sum.Compare(b.Sum) })
	var rest [movers][]waitingObject
	var errs [movers]error
	var wg sync.WaitGroup
	begin := 0
	for n := range movers {
		end := max(len(batch)*(n+1)/movers, begin)
		for end > begin && end < len(batch) && batch[end].Sum[0] == batch[end-1].Sum[0] {
			end++
		}
		part := batch[begin:end]
		begin = end
		wg.Go(func() { rest[n], errs[n] = d.moveEach(part) })
	}
	wg.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return slices.Concat(rest[:]...), err
	}
	switch {
	case d.cfg.noSync:
		return nil, nil
	case !lasting:
		d.inPlace.Store(true)
		return nil, nil
	}
	var touched [256]bool
	for _, o := range batch {
		touched[o.Sum[0]] = true
	}
	return nil, d.syncDirs(&touched)
}

// moveEach gives objects their names, one after the other.
func (d *direct) moveEach(batch []waitingObject) (left []waitingObject, err error) {
	n := 0
	for ; n < len(batch) && err == nil; n++ {
		if err = ensureDir(d.objects, batch[n].Sum[0], &d.known); err == nil {
			err = d.place(batch[n])
		}
	}
	if err != nil {
		n--
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range batch[:n] {
		delete(d.pending, o.Object)
	}
	return batch[n:], err
}

// place gives one object its name in objects/.
func (d *direct) place(o waitingObject) error {
	name := path(o.Type, &o.Sum)
	if o.fd < 0 {
		if err := unix.Renameat(d.stage.fd, name, d.objects, name); err != nil {
			return &os.PathError{Op: "rename object", Path: name, Err: err}
		}
		return nil
	}
	f := tmpFile{fd: o.fd, root: d.uid == 0}
	if err := f.linkInto(d.objects, name); err != nil && !errors.Is(err, unix.EEXIST) { // another process may have it by now
		return &os.PathError{Op: "link object", Path: name, Err: err}
	}
	f.close()
	held.Add(-1)
	return nil
}

// syncEach is up to how many directories are synced one by one. Each waits for the disk; the data is there already, so that syncing the
// whole file system once costs no more than a few of them.
const syncEach = 4

// syncDirs makes the names in subdirectories of objects/ durable.
func (d *direct) syncDirs(touched *[256]bool) error {
	var dirs []string
	for xx, yes := range touched {
		if yes {
			dirs = append(dirs, fmt.Sprintf("%02x", xx))
		}
	}
	if len(dirs) > syncEach {
		return d.syncAll()
	}
	for _, name := range dirs {
		if err := d.syncDir(name); err != nil {
			return d.unsynced(err)
		}
	}
	return d.unsynced(d.fsync(d.objects))
}

func (d *direct) syncAll() error { return d.unsynced(d.syncfs(d.objects)) }

// unsynced keeps an error of a sync, for every later publish: what was to be written may be lost, and no later sync says so again.
func (d *direct) unsynced(err error) error {
	if err != nil {
		d.lost = fmt.Errorf("sync repository %s: %w", d.repo.Path(), err)
	}
	return d.lost
}

func (d *direct) syncDir(name string) error {
	fd, err := unix.Openat(d.objects, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "objects/" + name, Err: err}
	}
	err = d.fsync(fd)
	return errors.Join(err, unix.Close(fd))
}
